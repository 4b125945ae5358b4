"""Runs drivers and talks with them. What goes wrong with a peer is its ``Failure``, and never the end of the run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from select import POLLIN, poll
from typing import Any

from benchmarks import functions
from benchmarks.peers import leftovers
from benchmarks.peers.roster import Entry
from isopod.ipc.errors import IsopodError
from isopod.runtime.environment import Env, Prepared, prepare

_ROOT = Path(__file__).resolve().parent.parent.parent
_PATIENCE = 60.0  # seconds for anything but a call whose worker is dead
_HANGS = 5.0  # seconds after which that one counts as hanging
_STOP = 10.0  # seconds for a peer to stop


class Failure(Exception):
    """A peer cannot take part, or no longer; the text says why."""


class Driver:
    """A peer's process, from the making of it to ``stop`` or ``abandon``. Its children are the household's to end."""

    def __init__(self, entry: Entry, environment: Prepared, variables: dict[str, str] | None = None) -> None:
        self.entry = entry
        # Unix sockets lie in here, and their paths may be 107 bytes long: hence /tmp, whatever TMPDIR says.
        self.temporary = Path(tempfile.mkdtemp(prefix="ipb-", dir="/tmp"))
        self._log = self.temporary / "log"
        self._log.touch()
        self.traces = leftovers.Traces(self.temporary, entry.folders)
        self._connection, theirs = Pipe()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        own = {"PYTHONPATH": str(_ROOT), "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        arguments = [str(theirs.fileno()), entry.kind, json.dumps(entry.options)]
        with theirs, self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(environment.executable), "-m", "benchmarks.peers.driver", *arguments],
                cwd=self.temporary,
                env={**inherited, **own, **(variables or {})},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is the conductor's to handle
            )

    def ask(self, do: str, patience: float = _PATIENCE, **arguments: Any) -> dict[str, Any]:
        """Have something done. Raises ``Failure``."""
        self.tell(do, **arguments)
        answer = self.answer(patience)
        if answer is None:
            raise Failure(f"no answer to '{do}' within {patience:.0f} s")
        return answer

    def tell(self, do: str, **arguments: Any) -> None:
        with contextlib.suppress(ConnectionError):  # the answer will tell
            self._connection.send_bytes(json.dumps({"do": do, **arguments}).encode())

    def answer(self, patience: float) -> dict[str, Any] | None:
        """What it says, or None if it says nothing for so many seconds. Raises ``Failure``."""
        try:
            if not self._connection.poll(patience):
                return None
            answer: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, ConnectionError):
            raise Failure(self._story()) from None
        if "error" in answer:
            raise Failure(answer["error"])
        return answer

    def _story(self) -> str:
        """How it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return f"its process ended with {self.process.returncode}" + (f": {lines[-1].strip()}" if lines else "")

    def stop(self) -> None:
        """Have the peer stop, and its process end: by force if they do not do it by themselves."""
        if self._connection.closed:
            return  # it was abandoned
        with contextlib.suppress(Failure):
            self.ask("stop", _STOP)
        self._connection.close()
        try:
            self.process.wait(_STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def abandon(self) -> None:
        """End the process at once, as a user ends an application that hangs."""
        self._connection.close()
        self.process.kill()
        self.process.wait()


def environment_of(entry: Entry) -> Prepared:
    """Build it, or find it in the cache. Raises ``Failure``."""
    env = Env(entry.requirements, overrides=entry.overrides) if entry.requirements else Env.current()
    try:
        return prepare(env)
    except IsopodError as error:
        raise Failure(f"its environment cannot be had: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True)
class Death:
    """What becomes of a call whose worker is killed, of the next one, and of what was there."""

    outcome: str  # the name of an exception, "answered", or "hangs"
    seconds: float | None  # from the kill to the outcome
    next_call: str  # the same
    left: tuple[str, ...]  # after the application has stopped its peer, or, where that hung, has been killed


def kill(entry: Entry, environment: Prepared, household: leftovers.Household) -> Death:
    """Start a peer of its own for it, kill its worker in mid-call, and look. Raises ``Failure``."""
    with tempfile.TemporaryDirectory(prefix="ipb-", dir="/tmp") as folder:
        lobby = Path(folder) / "lobby"
        os.mkfifo(lobby, 0o600)
        reader = os.open(lobby, os.O_RDONLY | os.O_NONBLOCK)  # at once, though nobody writes yet
        driver = Driver(entry, environment, {functions.LOBBY: str(lobby)})
        try:
            driver.ask("start")
            driver.tell("hold")
            victim = _met(reader)
            driver.traces.look(household.members())
            began = time.perf_counter_ns()
            os.kill(victim, signal.SIGKILL)
            return _aftermath(driver, began, household)
        finally:
            driver.abandon()
            household.clear()
            driver.traces.clear()
            os.close(reader)


def _met(lobby: int) -> int:
    """The process that the call has reached."""
    waiting = poll()
    waiting.register(lobby, POLLIN)
    if not waiting.poll(_PATIENCE * 1e3):
        raise Failure("the call to be killed did not reach its worker")
    return int(os.read(lobby, 32))


def _aftermath(driver: Driver, killed: int, household: leftovers.Household) -> Death:
    ended = driver.answer(_HANGS)
    seconds = None if ended is None else (ended["at"] - killed) / 1e9
    outcome = "hangs" if ended is None else str(ended["outcome"])
    after = "hangs"
    if ended is not None:
        driver.tell("again")
        again = driver.answer(_HANGS)
        after = "hangs" if again is None else str(again["outcome"])
    if after == "hangs":
        driver.abandon()
    else:
        driver.stop()
    return Death(outcome, seconds, after, tuple(driver.traces.left(household.members())))
