"""One call on its way, and the ways of waiting for it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from isopod.ipc.lent import Loan, contains
from isopod.ipc.record import Tensor

_numbers = itertools.count(1)


class Call:
    """What one call sent, and what became of it. It is settled exactly once, by whoever holds the session's lead.

    ``deliver`` is called when it is settled, on the session's dispatcher thread, if ``threaded``; on whatever thread
    settles it otherwise, and then it must be quick and run no user's code. Without ``deliver``, somebody waits.
    """

    __slots__ = (
        "deadline_ns", "deliver", "done", "error", "id", "kept", "late", "number", "outputs", "record",
        "sent_ns", "stamps", "submitted_ns", "tensors", "threaded", "timeout", "wake",
    )  # fmt: skip

    def __init__(self, deadline_ns: int, timeout: float | None, deliver: Callable[[Call], None] | None, threaded: bool):
        self.id = next(_numbers)
        self.submitted_ns = time.monotonic_ns()
        self.deadline_ns = deadline_ns
        self.timeout = timeout
        self.deliver = deliver
        self.threaded = threaded
        self.done = False
        self.late = False
        self.error: BaseException | None = None
        self.outputs: Any = None
        self.wake: threading.Lock | None = None
        self.tensors: list[Tensor] = []
        self.kept: list[Any] = []
        self.record = b""
        self.number = -1  # of its record in the ring, once it is sent
        self.sent_ns = 0
        self.stamps = (0, 0, 0, 0)

    def find(self, tensor: Tensor) -> Loan | None:
        """The input that an output lies in, where a model returned a view of it."""
        for item, array in zip(self.tensors, self.kept, strict=False):
            if (item.segment, item.block) == (tensor.segment, tensor.block):
                loan = Loan(array, item.offset, item.nbytes)
                if contains(loan, tensor):
                    return loan
        return None

    def release(self) -> None:
        """Let the inputs go: their memory can be used again."""
        self.tensors, self.kept, self.record = [], [], b""


def deadline_after(timeout: float | None) -> int:
    """``time.monotonic_ns()`` in ``timeout`` seconds; 0 for none."""
    return 0 if timeout is None else time.monotonic_ns() + max(1, int(timeout * 1e9))
