"""What a shared library says of itself: the libraries that it needs. Read from its ELF headers, loading nothing.

Format: elf(5), https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.dynamic.html. Only 64-bit little-endian files, which
is what every platform with wheels of a framework has.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, List, Tuple

_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian
_LOAD, _DYNAMIC = 1, 2  # kinds of program headers
_NEEDED, _STRINGS, _STRINGS_SIZE = 1, 5, 10  # tags of dynamic entries
_MOST = 1 << 20  # bytes of a table: more is no library


class NotALibrary(ValueError):
    """Not a shared library of this kind of machine, or not a whole one."""


def needed(path: str) -> List[str]:
    """The names in a library's NEEDED entries. Raises ``NotALibrary``, ``OSError``."""
    with open(path, "rb") as file:
        try:
            return _needed(file)
        except (struct.error, UnicodeDecodeError, OverflowError):
            raise NotALibrary("it was cut short or damaged") from None


def _needed(file: BinaryIO) -> List[str]:
    head = file.read(64)
    if not head.startswith(_MAGIC):
        raise NotALibrary("it is not a shared library (64-bit ELF)")
    table, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
    end = file.seek(0, os.SEEK_END)
    segments = []
    for number in range(count):
        file.seek(table + number * size)
        kind, _, offset, address, _, length = struct.unpack("<IIQQQQ", file.read(40))
        segments.append((kind, offset, address, length))
        if kind == _LOAD and offset + length > end:
            raise NotALibrary("it was cut short")  # the linker would map what is not there, and die of it
    entries: List[Tuple[int, int]] = []
    for kind, offset, _, length in segments:
        if kind == _DYNAMIC:
            entries = list(struct.iter_unpack("<qQ", _read(file, offset, length - length % 16)))
    tags = dict(entries)
    if _STRINGS not in tags:
        return []
    for kind, offset, address, length in segments:
        if kind == _LOAD and address <= tags[_STRINGS] < address + length:
            strings = _read(file, tags[_STRINGS] - address + offset, tags.get(_STRINGS_SIZE, 0))
            return [_text(strings, value) for tag, value in entries if tag == _NEEDED]
    raise NotALibrary("it was cut short or damaged")


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    if length > _MOST:
        raise NotALibrary("it was damaged")
    file.seek(offset)
    data = file.read(length)
    if len(data) < length:
        raise NotALibrary("it was cut short")
    return data


def _text(strings: bytes, start: int) -> str:
    return strings[start : strings.index(b"\0", start)].decode() if b"\0" in strings[start:] else ""
