"""What a caller asked for: inputs and a deadline. Of one request several calls may be made: a worker may die of one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from isopod.ipc.errors import SpecError
from isopod.runtime.calls import Call, check_seconds, deadline_after
from isopod.runtime.interface import Interface
from isopod.runtime.observe import recording

ARENA_WAIT_NS = 5_000_000_000  # to wait for memory when the call has no deadline
_new = tuple.__new__  # a named tuple's own constructor takes twice as long
_Call = TypeVar("_Call", bound=Call)


class Request(NamedTuple):
    """``asked_ns`` is when it was asked; ``deadline_ns`` is 0 for none."""

    inputs: Mapping[str, Any]
    timeout: float | None
    deadline_ns: int
    asked_ns: int

    @classmethod
    def of(
        cls, inputs: Mapping[str, Any] | None, named: dict[str, Any], timeout: float | None, usual: float | None
    ) -> Request:
        """From the arguments of a call; ``usual`` is its model's own timeout. Raises ``SpecError``."""
        asked_ns = time.monotonic_ns()
        if inputs is None:
            inputs = named
        elif named:
            raise SpecError("give the inputs as a mapping or by keyword, not both")
        elif type(inputs) is not dict and not isinstance(inputs, Mapping):
            raise SpecError(f"inputs are given by name, as model(name=array), not as a {type(inputs).__name__}")
        if timeout is None:
            timeout = usual
        else:
            check_seconds(timeout, "timeout")
        return _new(cls, (inputs, timeout, 0 if timeout is None else deadline_after(timeout), asked_ns))

    @property
    def room_by(self) -> int:
        """Until when to wait for shared memory, as ``Arena.allocate`` takes it."""
        return self.deadline_ns or -ARENA_WAIT_NS

    def call(
        self, kind: type[_Call], interface: Interface, deliver: Callable[[Call], None] | None, *, threaded: bool
    ) -> _Call:
        """A call with what is to be sent: checked, completed by defaults, cast. Raises ``SpecError``."""
        inputs, timeout, deadline_ns, asked_ns = self
        call = kind(deadline_ns, timeout, deliver, threaded)
        call.asked_ns = asked_ns
        call.inputs = inputs = interface.admit(inputs)
        if interface.judges:
            call.verdict = interface.verdict(inputs)
        if recording.active is not None:
            call.thread = threading.get_native_id()  # an ident is another thread's as soon as this one has ended
        return call
