"""What a caller asked for: inputs and a deadline, checked. Where it is sent may change if a worker dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from isopod.ipc.errors import SpecError
from isopod.runtime.calls import Call, check_seconds, deadline_after
from isopod.runtime.interface import Interface
from isopod.runtime.observe import recording
from isopod.runtime.problems.outcome import Verdict

ARENA_WAIT = 5.0  # seconds to wait for memory when the call has no deadline
_ARENA_WAIT_NS = int(ARENA_WAIT * 1e9)
_new = tuple.__new__  # a named tuple's own constructor takes twice as long


class Request(NamedTuple):
    """``verdict`` looks at the outputs, where a problem says how they are to be; ``asked_ns`` is when it was asked."""

    inputs: Mapping[str, Any]
    timeout: float | None
    deadline_ns: int
    verdict: Verdict | None = None
    asked_ns: int = 0

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
        return _new(cls, (inputs, timeout, 0 if timeout is None else deadline_after(timeout), None, asked_ns))

    def admitted(self, interface: Interface) -> Request:
        """The same with what is to be sent: checked, completed by defaults, cast. Raises ``SpecError``."""
        given, timeout, deadline_ns, _, asked_ns = self
        inputs = interface.admit(given)
        verdict = interface.verdict(inputs)
        if inputs is given and verdict is None:
            return self
        return Request(inputs, timeout, deadline_ns, verdict, asked_ns)

    @property
    def room_by(self) -> int:
        """Until when to wait for shared memory, as ``Arena.allocate`` takes it."""
        return self.deadline_ns or -_ARENA_WAIT_NS

    def call(self, deliver: Any, *, threaded: bool) -> Call:
        call = Call(self.deadline_ns, self.timeout, deliver, threaded)
        call.asked_ns = self.asked_ns
        if recording.active is not None:
            call.thread = threading.get_native_id()  # an ident is another thread's as soon as this one has ended
        if self.verdict is not None:
            call.verdict = self.verdict
        return call
