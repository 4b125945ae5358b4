"""Where everything lies in a control segment, and the limits of what may be said there.

Each direction has one *control segment*, written by one side only: a header, the slots of the record ring, and the
return ring, in which its writer gives borrowed blocks of the *other* direction back. Tensors lie in segments of their
own. All integers are little-endian; every word that the other side polls is 8 bytes and aligned, so it is written
and read whole.

::

    0      magic     u64
    8      version   u32 · slots u32 · slot size u32 · returns u32
    64     cursor    u64   how many entries of the other direction's return ring this side has taken
    72     progress  2 × u64   how many records of the other direction it has begun · the last call that looked up
    128    slots     slots × slot size     sequence u64 · length u32 · 4 spare · payload
    ...    returns   returns × u64         pass u16 · segment u16 · block u32 (in units of ALIGNMENT)
    ...    cancelled slots × u64           the call in that slot that nobody wants any more · whether it runs
"""

from __future__ import annotations

import struct
from typing import NamedTuple

MAGIC = 0x31444F504F5349  # "ISOPOD1" read as a little-endian word
VERSION = 2

ALIGNMENT = 64  # bytes: a cache line, and what every SIMD kernel asks of a tensor at most
HEADER = struct.Struct("<QIIII")
CURSOR_OFFSET = 64
PROGRESS_OFFSET = 72
SLOTS_OFFSET = 128
SLOT_HEAD = struct.Struct("<QI4x")
SENT_WORD = 5  # of a record, in words of 8 bytes: where an answer says when it was sent

MAX_RANK = 32  # numpy 1.x ends here; numpy 2 allows 64
MAX_NAME = 256  # bytes of UTF-8
MAX_TENSORS = 4096  # in one call
MAX_PLAIN = 256 * 1024  # bytes of values that are not tensors, in one call
MAX_SEGMENTS = 65_536  # that one worker ever sees: what the word of a return has room for
MAX_FRAME = 64 * 1024  # bytes of one control message

# Of one log record; in bytes of UTF-8, and together well below a frame.
MAX_LOG_TEXT = 16 * 1024
MAX_LOG_PATH = 1024
MAX_LOG_NAME = 256  # of a logger, a function, a field
MAX_LOG_FIELDS = 24
MAX_LOG_VALUE = 1024  # of one field
MAX_LOG_LEVEL = 1000  # logging's own end at 50


class Layout(NamedTuple):
    """The sizes of one control segment. Both sides must agree; the reader checks them against the header."""

    slots: int = 64
    slot_size: int = 1024
    returns: int = 4096

    @property
    def returns_offset(self) -> int:
        return SLOTS_OFFSET + self.slots * self.slot_size

    @property
    def cancellations_offset(self) -> int:
        return self.returns_offset + self.returns * 8

    @property
    def size(self) -> int:
        return self.cancellations_offset + self.slots * 8

    @property
    def payload(self) -> int:
        """Bytes of the longest record that fits into a slot."""
        return self.slot_size - SLOT_HEAD.size


def round_up(value: int, step: int) -> int:
    return (value + step - 1) // step * step
