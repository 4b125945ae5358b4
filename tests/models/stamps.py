"""Models that lie about time: each answer of theirs has its stamps overwritten in the ring's own slot."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import gc
import struct

FAR = 2**64 - 1
LIES = {
    "nothing": (0, 0, 0, 0),
    "the future": (FAR, FAR, FAR, FAR),
    "backwards": (FAR, 2**63, 2**40, 1),
    "mixed": (1, FAR, 0, 2**62),
}


class Liar:
    """``Liar()(x, lie)``: the next answers carry that lie."""

    def __init__(self):
        self.link = next(one for one in gc.get_objects() if type(one).__name__ == "Link" and hasattr(one, "outbell"))
        self.honest = self.link.answer
        self.lie = None
        self.link.answer = self.answer

    def __call__(self, x, lie=""):
        self.lie = LIES.get(lie)
        return {"y": x + 1}

    def answer(self, record):
        if self.lie is None:
            self.honest(record)
            return
        record = bytearray(record)
        struct.pack_into("<4Q", record, 16, *self.lie)  # where the stamps are in a record
        self.link._writer.write(bytes(record))  # without the honest stamp of when it was sent
        self.link.outbell.ring()
