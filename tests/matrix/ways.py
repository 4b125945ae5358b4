"""Ways to end, as data. How each is done is a function of the same name in ``tests/models/ways.py``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matrix.phases import Phase

# What becomes of the thread that meets it. "Unseen": it dies of it once somebody looks. "Either": it lives, unless one
# of its threads was about to need what is gone.
DIES, HANGS, RAISES, LIVES, UNSEEN, EITHER = "dies", "hangs", "raises", "lives", "unseen", "either"

SIGNALS = {"sigkill": "SIGKILL", "sigterm": "SIGTERM", "sigsegv": "SIGSEGV", "sigabrt": "SIGABRT", "sigbus": "SIGBUS"}


@dataclass(frozen=True)
class Way:
    """``end`` is what happens to a worker on whose main thread it is met, ``fact`` what is said of it, as a pattern.

    ``elsewhere`` is the end, and the fact, in a phase that is named, or on another thread or program of a worker's.
    ``stacks``: whether Python's are in the report.
    """

    name: str
    end: str
    fact: str
    stacks: bool = False
    elsewhere: dict[str, tuple[str, str]] = field(default_factory=dict)

    def within(self, phase: Phase) -> tuple[str, str]:
        """(what happens, what is said of it)"""
        there = self.elsewhere.get(phase.name) or self.elsewhere.get(phase.runs_in)
        return there or (self.end, self.fact)


_LIVES = (LIVES, "")
_WITHOUT_CHANNEL = {
    "wrapper": (DIES, r"exited with code 1 \("),
    "import": (DIES, r"exited with code 121 \(the worker itself failed"),
    "load": (DIES, r"exited with code 121 \(the worker itself failed"),
}


def _raises(name: str, fact: str, code: int) -> Way:
    return Way(name, RAISES, fact, elsewhere={"thread": _LIVES, "wrapper": (DIES, rf"exited with code {code} \(")})


def _hangs(name: str, *, stacks: bool = True, wholly: bool = False) -> Way:
    """``wholly``: none of its threads goes on."""
    return Way(name, HANGS, r"its deadline of [\d.]+ s", stacks, {} if wholly else {"thread": _LIVES})


WAYS = {
    way.name: way
    for way in (
        Way("exit_0", DIES, r"exited with code 0 \(it ended by itself"),
        Way("exit_3", DIES, r"exited with code 3 \(os\._exit, or exit in native code"),
        Way("os_exit", DIES, r"exited with code 4 \(os\._exit"),
        Way("thread_exits", DIES, r"exited with code 5 \(os\._exit"),
        Way("sigkill", DIES, r"killed by SIGKILL \(the kernel's out-of-memory killer"),
        Way("sigterm", DIES, r"killed by SIGTERM \(somebody asked"),
        Way("sigsegv", DIES, r"killed by SIGSEGV \(a memory error", stacks=True),
        Way("sigabrt", DIES, r"killed by SIGABRT \(native code gave up", stacks=True),
        Way("sigbus", DIES, r"killed by SIGBUS \(memory that is mapped but not there", stacks=True),
        Way("stack_overflow", DIES, r"killed by SIGSEGV \(.*stack overflow", stacks=True),
        Way("garbage_in_ring", DIES, r"broke the data protocol", elsewhere={"thread": (UNSEEN, "broke the data")}),
        Way("garbage_on_socket", DIES, r"broke the control protocol: a frame claims 4294967295 bytes"),
        _raises("sys_exit", r"raised SystemExit .*: 7", 7),
        _raises("raises", r"raised ValueError .*: as any", 1),
        _raises("out_of_memory", r"raised MemoryError ", 1),
        Way("thread_raises", LIVES, ""),
        # Its mappings and its waiting threads keep what they have: only what is opened later misses it.
        Way("close_fds", EITHER, r"killed by SIGKILL|exited with code 121", elsewhere=_WITHOUT_CHANNEL),
        _hangs("sigstop", stacks=False, wholly=True),
        _hangs("endless"),
        _hangs("endless_native"),
        _hangs("endless_with_gil", wholly=True),
        _hangs("deadlock"),
    )
}
