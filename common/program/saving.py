"""Writing so that nothing is left half-written, whatever ends it: a full disk, an error, Ctrl-C."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from common.errors import BadFileError, UsageError

_MISCHOSEN = {errno.EEXIST, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS}
"""What is wrong with the folder that was chosen, and not with the disk."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into an error for people; the body only writes.

    Raises:
        UsageError: nothing can be written to the path.
        BadFileError: the disk is full or broken.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors has the system's number in its text alone.
        found = re.search(r"(?:Errno|os error) (\d+)", str(error))
        number = int(found[1]) if found else 0
        message = f"cannot write to {path}: {os.strerror(number) if number else error}"
        if number in _MISCHOSEN:
            raise UsageError(message, remedy="Choose another place for it") from error
        raise BadFileError(
            message, remedy="Make room there, then give the same command again"
        ) from error


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """Make a folder to work in; if the work fails, the folders made for it go again while empty.

    Raises:
        UsageError, BadFileError: it cannot be made or written to, see `writing`.
    """
    made = [p for p in (folder, *folder.parents) if not os.path.exists(p)]
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to write files into, which becomes `folder` when all went well, and goes when not.

    Where `folder` is there already, its files of the same names are replaced and others stay.

    Raises:
        UsageError, BadFileError: it cannot be written, see `writing`.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    with making(folder.parent), writing(folder):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir()
            yield partial
            if folder.exists():
                for file in partial.iterdir():
                    file.replace(folder / file.name)
                partial.rmdir()
            else:
                partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def append(path: Path, text: str) -> None:
    """Add text to a file, all of it or none; the file and its folder are made where missing.

    Raises:
        UsageError, BadFileError: it cannot be written, see `writing`.
    """
    data = text.encode()
    with making(path.parent), writing(path), path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            while data:
                data = data[file.write(data) :]
        except BaseException:
            file.truncate(size)
            if not size:
                path.unlink()
            raise
