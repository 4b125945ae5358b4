# mypy: ignore-errors
"""Lends as many blocks with each answer as there may be, and takes none of them back."""

import gc
import sys

import numpy as np

from isopod import worker

MOST = 4096  # tensors of one call


class Lender:
    def __init__(self):
        self.link = next(one for one in gc.get_objects() if type(one).__name__ == "Link" and hasattr(one, "outbell"))
        self.kept = worker.empty(1 << 20, np.uint8)

    def __call__(self, x, lends=False):
        if not lends:
            return {"y": x + 1}
        link, records = self.link, sys.modules["isopod.ipc.record"]
        segment, start, offset = sys.modules["isopod.ipc.lease"].locate(self.kept)
        index = link.index_of(segment)
        empty = [records.Tensor(f"{i:x}", 6, (0,), index, start // 64, offset, 0) for i in range(MOST)]
        call = sys.modules["isopod.opeworker.context"].running_call()
        while True:  # it never comes back to where an honest worker takes them
            answer = records.encode(2, call, (1, 2, 3, 4, 0), empty)
            segment.map[offset : offset + len(answer)] = answer
            spilled = records.Tensor("record", 6, (len(answer),), index, start // 64, offset, len(answer))
            link.answer(records.encode(2, call, (1, 2, 3, 4, 0), [spilled], flags=records.SPILLED))
            data = None
            while data is None:
                data = link.receiver.receive()
            call = records.fields_of(data)[1]
            link.progress.begin(link.reader.taken - 1, call, link.cancellations)
