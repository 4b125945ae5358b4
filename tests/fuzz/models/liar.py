# mypy: ignore-errors
"""Answers a call with a damaged record: honest bytes, changed here and there, by a seed."""

import gc
import random
import sys

import numpy as np

from isopod import worker


class Liar:
    def __init__(self):
        self.link = next(one for one in gc.get_objects() if type(one).__name__ == "Link" and hasattr(one, "outbell"))
        self.kept = worker.empty(64, np.float64)

    def __call__(self, x, seed=None):
        if seed is not None:
            self.link.answer(self.damaged(random.Random(seed)))
        return {"y": x + 1}

    def damaged(self, chance):
        records = sys.modules["isopod.ipc.record"]
        segment, start, offset = sys.modules["isopod.ipc.lease"].locate(self.kept)
        index = self.link.index_of(segment)
        call = sys.modules["isopod.opeworker.context"].running_call()
        tensor = records.Tensor("y", 12, (64,), index, start // 64, offset, 512)
        error = {"type": "E", "message": "m", "traceback": "t", "missing": "", "culprit": "model"}
        honest = [
            records.encode(2, call, (1, 2, 3, 4, 0), [tensor], {"values": [[0, "z", {"a": [1, "b"]}]]}),
            records.encode(2, call, (1, 2, 3, 4, 0), [tensor._replace(dtype=42, shape=(3,))]),
            records.encode(2, call, (1, 2, 3, 4, 0), [tensor], flags=records.SPILLED),
            records.encode(3, call, (1, 2, 3, 4, 0), [], {"error": error, "held": [0], "copied": 9}),
        ]
        data = bytearray(chance.choice(honest))
        for _ in range(chance.randrange(0, 4)):
            at = chance.randrange(len(data))
            if chance.random() < 0.5:
                data[at] = chance.randrange(256)
            else:
                data[at : at + 8] = chance.choice([0, 1, 2**31, 2**63 - 1, 2**64 - 1]).to_bytes(8, "little")
        return bytes(data[: self.link.slot])
