"""A recording as a timeline, in the trace event format that https://ui.perfetto.dev and chrome://tracing open.

Each caller's thread is a track, and each worker is a process with one: slices are calls, and the phases in them; arrows
lead from a call to where it is computed and back. The start of a worker is a slice in parts, its death an instant.
Calls that overlap in one thread (futures, tasks, ``map``) get tracks of their own beside it.

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU (times in microseconds).
"""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from isopod.ipc.errors import SpecError
from isopod.runtime.observe import phases
from isopod.runtime.observe.phases import FINISHED, HEARD, PHASES, RECEIVED, REPLIED, SENT, label
from isopod.runtime.observe.recorder import Answered, Birth, Death, Lost, Recorder, Worker
from isopod.runtime.startup import PARTS

Event = dict[str, Any]
SUFFIXES = (".json", ".json.gz")
_TRACK = 1  # a worker's only one


def check(path: Path) -> None:
    """Whether a trace can be written there. Raises ``SpecError``."""
    if not path.name.endswith(SUFFIXES):
        raise SpecError(f"{path}: a trace ends with one of {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise SpecError(f"{path} cannot be written: there is no folder {path.absolute().parent}")


def write(recorder: Recorder, path: Path) -> None:
    """Write it whole, or leave what was there. Raises ``SpecError``."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with _opened(beside) as file:
                _write(recorder, file)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise SpecError(f"{path} cannot be written: {error.strerror}") from error


def _opened(path: Path) -> IO[str]:
    if path.name.rpartition(".")[0].endswith(".gz"):
        return io.TextIOWrapper(gzip.open(path, "wb", compresslevel=5), encoding="utf-8")
    return path.open("w", encoding="utf-8")


def _write(recorder: Recorder, file: IO[str]) -> None:
    told = {"calls": recorder.heard, "forgotten": recorder.forgotten, "application": os.getpid()}
    file.write('{"displayTimeUnit": "ns", "otherData": ' + json.dumps({"isopod": told}) + ', "traceEvents": [')
    for number, event in enumerate(events(recorder)):
        file.write((",\n" if number else "\n") + json.dumps(event))
    file.write("\n]}\n")


def events(recorder: Recorder) -> Iterator[Event]:
    """All of it. Times are counted from the beginning of the recording."""
    return _Timeline(recorder).events()


class _Timeline:
    """``pid`` is a process's own number, or one that nobody has where the kernel has used it for two workers."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._zero = recorder.began_ns
        self._application = os.getpid()
        self._pids: dict[Worker, int] = {}
        # What was asked before the recording began is nobody's: its caller is not known.
        self._calls = [call for call in [*recorder.calls] if call.thread]

    def events(self) -> Iterator[Event]:
        answered = [call for call in self._calls if isinstance(call, Answered)]
        relative = phases.settled(call.marks for call in answered)
        moments = {
            id(call): [int(mark) + call.marks[0] for mark in row] for call, row in zip(answered, relative, strict=True)
        }
        yield self._named("process_name", self._application, 0, "application")
        yield self._sorted("process_sort_index", self._application, 0, -1)
        yield from self._callers(moments)
        yield from self._workers(moments)

    # ------------------------------------------------------------------ callers

    def _callers(self, moments: dict[int, list[int]]) -> Iterator[Event]:
        threads: dict[int, list[Answered | Lost]] = {}
        for call in self._calls:
            threads.setdefault(call.thread, []).append(call)
        track = 0
        for thread, calls in threads.items():
            spans = [(self._span(call, moments), call) for call in calls]
            lanes = _lanes(sorted(spans, key=lambda item: item[0]))
            for number, lane in enumerate(lanes):
                track += 1
                name = self._recorder.threads.get(thread, "a thread") + (f" ({number + 1})" if number else "")
                yield self._named("thread_name", self._application, track, name)
                yield self._sorted("thread_sort_index", self._application, track, track)
                for (begin, end), call in lane:
                    yield from self._caller(call, begin, end, track, moments.get(id(call)))

    @staticmethod
    def _span(call: Answered | Lost, moments: dict[int, list[int]]) -> tuple[int, int]:
        if isinstance(call, Lost):
            return call.asked_ns, max(call.asked_ns, call.ended_ns)
        own = moments[id(call)]
        # What was sent before is on the timeline already, and this goes on from there.
        return own[0 if call.attempt == 1 else 1], own[-1]

    def _caller(
        self, call: Answered | Lost, begin: int, end: int, track: int, moments: list[int] | None
    ) -> Iterator[Event]:
        told: Event = {"call": call.call, "worker": call.worker.pid, "attempt": call.attempt}
        if isinstance(call, Lost):
            told["error"] = "its worker died" if call.begun else "its worker died before it began"
        else:
            told.update({"bytes": call.nbytes, **({"error": call.error} if call.error else {})})
        yield self._slice(call.worker.model, self._application, track, begin, end, "call", told)
        if moments is None:
            return
        for number, phase in enumerate(PHASES):
            if phase.side != "worker":
                if moments[number] >= begin:
                    yield from self._some(phase, self._application, track, moments[number], moments[number + 1])
            elif number == RECEIVED:
                yield self._slice("worker", self._application, track, moments[RECEIVED], moments[REPLIED], "worker")
        yield self._arrow("s", call, 0, self._application, track, moments[SENT])
        yield self._arrow("f", call, 1, self._application, track, moments[HEARD])

    # ------------------------------------------------------------------ workers

    def _workers(self, moments: dict[int, list[int]]) -> Iterator[Event]:
        births, deaths = [*self._recorder.births], [*self._recorder.deaths]
        seen = [
            *(one.worker for one in births),
            *(call.worker for call in self._calls),
            *(one.worker for one in deaths),
        ]
        for worker in dict.fromkeys(seen):
            pid = self._pid_of(worker)
            yield self._named("process_name", pid, 0, f"worker {worker.model}.{worker.replica}")
            yield self._sorted("process_sort_index", pid, 0, len(self._pids))
            yield self._named("thread_name", pid, _TRACK, "calls")
            ends = {death.worker: death for death in deaths}
            for birth in births:
                if birth.worker == worker:
                    yield from self._birth(birth, pid)
            own = [call for call in self._calls if call.worker == worker]
            yield from self._computed(own, pid, ends.get(worker), moments)
            if worker in ends:
                yield self._death(ends[worker], pid)

    def _pid_of(self, worker: Worker) -> int:
        taken = {self._application, *self._pids.values()}
        pid = worker.pid if worker.pid not in taken else max(1 << 22, *taken) + 1
        return self._pids.setdefault(worker, pid)

    def _birth(self, birth: Birth, pid: int) -> Iterator[Event]:
        at = birth.began_ns
        yield self._slice("start", pid, _TRACK, at, at + _ns(birth.parts.get("total", 0.0)), "start")
        for name in PARTS:
            length = _ns(birth.parts.get(name, 0.0))
            if length:
                yield self._slice(name, pid, _TRACK, at, at + length, "start")
            at += length

    def _computed(
        self, calls: Sequence[Answered | Lost], pid: int, death: Death | None, moments: dict[int, list[int]]
    ) -> Iterator[Event]:
        """One after the other, as a worker does it; what it said otherwise is moved."""
        free = 0

        def order(call: Answered | Lost) -> int:
            return moments[id(call)][RECEIVED] if isinstance(call, Answered) else call.sent_ns

        for call in sorted(calls, key=order):
            if isinstance(call, Lost):
                if call.begun and call.sent_ns:
                    end = call.ended_ns if death is None else min(call.ended_ns, death.ended_ns)
                    begin = max(free, call.sent_ns)
                    yield self._slice(f"call {call.call}", pid, _TRACK, begin, max(begin, end), "lost")
                    free = max(begin, end)
                continue
            marks = [max(free, mark) for mark in moments[id(call)]]
            yield self._slice(f"call {call.call}", pid, _TRACK, marks[RECEIVED], marks[REPLIED], "call")
            for number in range(RECEIVED, REPLIED):
                yield from self._some(PHASES[number], pid, _TRACK, marks[number], marks[number + 1])
            yield self._arrow("f", call, 0, pid, _TRACK, marks[RECEIVED])
            yield self._arrow("s", call, 1, pid, _TRACK, marks[FINISHED])
            free = marks[REPLIED]

    def _death(self, death: Death, pid: int) -> Event:
        name = "crashed" if death.crashed else "ended"
        told = {"cause": death.cause}
        return {
            "ph": "i", "s": "p", "name": name, "pid": pid, "tid": _TRACK, "ts": self._at(death.ended_ns), "args": told
        }  # fmt: skip

    # ------------------------------------------------------------------ events

    def _at(self, moment: int) -> float:
        return (moment - self._zero) / 1e3

    def _slice(
        self, name: str, pid: int, tid: int, begin: int, end: int, category: str, told: Event | None = None
    ) -> Event:
        event = {
            "ph": "X", "name": name, "cat": category, "pid": pid, "tid": tid,
            "ts": self._at(begin), "dur": (end - begin) / 1e3,
        }  # fmt: skip
        return event if told is None else {**event, "args": told}

    def _some(self, phase: phases.Phase, pid: int, tid: int, begin: int, end: int) -> Iterator[Event]:
        if end > begin:
            yield self._slice(label(phase.name), pid, tid, begin, end, phase.side)

    def _arrow(self, end: str, call: Answered | Lost, way: int, pid: int, tid: int, moment: int) -> Event:
        """From (``s``) or to (``f``) the slice that encloses the moment; ``way`` 0 is there, 1 is back."""
        return {
            "ph": end, "name": ("call", "answer")[way], "cat": "flow", "id": call.call * 2 + way, "bp": "e",
            "pid": pid, "tid": tid, "ts": self._at(moment),
        }  # fmt: skip

    @staticmethod
    def _named(what: str, pid: int, tid: int, name: str) -> Event:
        return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}

    @staticmethod
    def _sorted(what: str, pid: int, tid: int, index: int) -> Event:
        return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"sort_index": index}}


_Spanned = tuple[tuple[int, int], Answered | Lost]


def _lanes(spans: Iterable[_Spanned]) -> list[list[_Spanned]]:
    """As few rows as can be in which nothing overlaps. ``spans`` come in the order of their beginning."""
    lanes: list[list[_Spanned]] = []
    for span in spans:
        for lane in lanes:
            if lane[-1][0][1] <= span[0][0]:
                lane.append(span)
                break
        else:
            lanes.append([span])
    return lanes


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
