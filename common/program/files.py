"""Files of the programs that hold what is private."""

import os


def private(path: str, flags: int) -> int:
    """An `opener` for `open`: a file that it makes is its owner's alone (0600), whatever the umask;
    one that is there keeps its mode.
    """
    before = os.umask(0o077)
    try:
        return os.open(path, flags, 0o600)
    finally:
        os.umask(before)
