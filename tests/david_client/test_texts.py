"""Private texts as files hold them: their encodings, and what is no text."""

import codecs
import io
from pathlib import Path

import pytest

from common.errors import BadDataError, BadFileError
from david_client.chat.pipe import Pipe
from david_client.texts import read_context

TEXT = "the soup is of cold milk, \u00bd l\n"
MARKED = {
    "UTF-8": TEXT.encode(),
    "UTF-8 with its mark": codecs.BOM_UTF8 + TEXT.encode(),
    "UTF-16, little end first": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "UTF-16, big end first": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
}


@pytest.mark.parametrize("data", MARKED.values(), ids=MARKED.keys())
def test_a_text_is_read_in_its_encoding(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "notes").write_bytes(data)
    assert read_context(tmp_path / "notes") == TEXT


@pytest.mark.parametrize(
    "data",
    [
        b"a\0b",
        b"\x7fELF\x02\x01\0\0\xff\xfe",
        TEXT.encode("utf-16-le"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
        codecs.BOM_UTF16_BE + b"\0\0",
    ],
)
def test_a_binary_file_is_named_as_binary(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "notes").write_bytes(data)
    with pytest.raises(BadFileError, match="notes is binary: it holds a NUL character"):
        read_context(tmp_path / "notes")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"caf\xe9", "not UTF-8 (byte 3)"),
        (codecs.BOM_UTF16_LE + b"a\x01b", "not UTF-16"),
        (codecs.BOM_UTF8 + b" \n", "empty"),
    ],
)
def test_what_is_no_text(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "notes").write_bytes(data)
    with pytest.raises(BadFileError) as refused:
        read_context(tmp_path / "notes")
    assert says in refused.value.message


def test_lines_of_a_pipe_are_read_alike() -> None:
    lines = Pipe(io.BytesIO(codecs.BOM_UTF8 + b"soup\na\0b\ncake"))
    assert lines.read() == "soup\n"
    with pytest.raises(BadDataError, match="a line is binary"):
        lines.read()
    assert lines.read() == "cake"
    assert lines.read() is None
