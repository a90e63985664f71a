"""What a file is, by its first bytes, so that a message can call it by its name, and how its text is written.

Nothing is unpacked here.
"""

from __future__ import annotations

import json
import re
from typing import Final

__all__ = ["GZIP", "HEAD_BYTES", "JSONL", "JSON_ARRAY", "PARQUET", "in_utf8", "kind_of"]

HEAD_BYTES: Final = 4096  # as much of a file tells what it is

JSONL: Final = "JSONL"
JSON_ARRAY: Final = "a JSON array"
PARQUET: Final = "Parquet"
GZIP: Final = "gzip"

_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"PAR1", PARQUET),
    (b"\x1f\x8b", GZIP),
    (b"PK\x03\x04", "a zip archive, as workbooks are (save a sheet as CSV)"),
    (b"\x28\xb5\x2f\xfd", "zstandard"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"ARROW1", "an Arrow file"),
    (b"\xff\xff\xff\xff", "an Arrow stream"),
    (b"\x89HDF", "HDF5"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0", "a workbook, or a document of an office program"),
    (b"\xff\xfe", "UTF-16 text (save it as UTF-8)"),
    (b"\xfe\xff", "UTF-16 text (save it as UTF-8)"),
    (b"version https://git-lfs", "a pointer of Git LFS instead of the file (`git lfs pull` gets it)"),
    *((bytes((0x80, protocol)), "a pickle, which is never opened: it can run code") for protocol in range(2, 6)),
)
_PAGE: Final = re.compile(rb"<(?:!doctype|html)", re.IGNORECASE)
_SPREAD: Final = re.compile(rb"\{\s*\n")


def kind_of(head: bytes) -> str:
    """The kind of a file that begins like this: ``JSONL`` where nothing speaks against it.

    >>> kind_of(b'[{"a": 1}]'), kind_of(b'{"a": 1}'), kind_of(b"PAR1...")
    ('a JSON array', 'JSONL', 'Parquet')
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"["):
        return JSON_ARRAY
    if _SPREAD.match(text):
        return "one JSON object over several lines"
    return "a web page" if _PAGE.match(text) else JSONL


def in_utf8(content: bytes, *, cut: bool = False) -> bytes:
    """Text of a spreadsheet or of PowerShell, which may be UTF-16, in UTF-8 without a byte order mark.

    Args:
        cut: whether it is only the beginning of a text, which may end within a character.

    Raises:
        UnicodeDecodeError: it is in UTF-16 or UTF-32, and damaged. UTF-8 is not looked at.
    """
    encoding = json.detect_encoding(content)
    if encoding.startswith("utf-8"):
        return content.removeprefix(b"\xef\xbb\xbf")
    return content.decode(encoding, "ignore" if cut else "strict").encode()
