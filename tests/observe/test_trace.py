"""``isopod.trace`` and ``isopod trace``: what is recorded of calls and workers, and that the file is a timeline."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from application import MODELS, Application
from demo.command import COMMAND, environment
from demo.command import isopod as command
from observe.timelines import Timeline
from waits import GUARD

import isopod
from isopod.runtime.observe import recording
from isopod.runtime.observe.phases import PHASES, label

ON_THE_WAY = {label(phase.name) for phase in PHASES if phase.side != "worker"} | {"worker"}
IN_THE_WORKER = {label(phase.name) for phase in PHASES if phase.side == "worker"}


def test_threads_and_workers_are_tracks_with_their_phases(tmp_path: Path) -> None:
    def call(number: int) -> None:
        for _ in range(5):
            model(do="double", x=np.arange(float(number)))

    place = tmp_path / "trace.json"
    with isopod.trace(place) as recorder, isopod.load(MODELS / "basic.py:Swiss", workers=2) as model:
        threads = [threading.Thread(target=call, args=(number,), name=f"caller {number}") for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert recording.active is None
    assert recorder.heard == 15
    timeline = Timeline(place)
    assert timeline.about == {"calls": 15, "forgotten": 0, "application": os.getpid()}
    processes = timeline.processes()
    assert processes.pop(os.getpid()) == "application"
    assert set(processes.values()) == {"worker Swiss.0", "worker Swiss.1"}
    assert set(timeline.threads(os.getpid())) == {"caller 0", "caller 1", "caller 2"}
    assert len(timeline.named("Swiss")) == 15
    assert {event["name"] for event in timeline.category("caller") + timeline.category("both")} <= ON_THE_WAY
    assert {event["name"] for event in timeline.events if event.get("cat") == "worker"} <= IN_THE_WORKER | ON_THE_WAY
    assert len(timeline.named("compute")) == 15
    assert len(timeline.category("flow")) == 4 * 15
    assert len(timeline.named("start")) == 2
    assert {"import", "numpy", "module"} <= {event["name"] for event in timeline.category("start")}
    assert len(timeline.named("ended")) == 2


def test_a_batch_is_a_call_of_its_first_caller(tmp_path: Path) -> None:
    place = tmp_path / "trace.json"
    with isopod.trace(place) as recorder, isopod.load(f"{MODELS / 'basic.py'}:double", batch=isopod.Batch(4)) as model:
        for future in [model.submit(x=np.ones((1, 3))) for _ in range(12)]:
            future.result(GUARD)
        runs = model.stats().runs
    assert recorder.heard == runs
    timeline = Timeline(place)
    assert len(timeline.named("double")) == len(timeline.named("compute")) == runs
    assert len(timeline.category("flow")) == 4 * runs


def test_calls_that_overlap_in_one_thread_have_tracks_of_their_own(tmp_path: Path) -> None:
    async def several() -> None:
        await asyncio.gather(*(model.acall(do="double", x=number) for number in range(4)))

    place = tmp_path / "trace.json.gz"
    with isopod.load(MODELS / "basic.py:Swiss") as model:
        model(do="double", x=0)
        with isopod.trace(place):
            asyncio.run(several())
            list(model.map([{"do": "double", "x": number} for number in range(6)]))
            for future in [model.submit(do="double", x=number) for number in range(4)]:
                future.result()
            with pytest.raises(isopod.ModelError):
                model(do="raise", x=1)
    timeline = Timeline(place)
    calls = timeline.named("Swiss")
    assert len(calls) == 15, "and not the one before"
    assert timeline.named("start") == []
    assert len({call["tid"] for call in calls}) > 1
    assert [call["args"]["error"] for call in calls if "error" in call["args"]] == ["ModelError"]


def test_a_crash_is_an_instant_and_its_call_ends_there(tmp_path: Path) -> None:
    place = tmp_path / "trace.json"
    with isopod.trace(place), isopod.load(MODELS / "deaths.py:Dying", retries=0) as model:
        model(x=1)
        with pytest.raises(isopod.WorkerCrashed):
            model(way="sigkill")
        assert model(x=3)["y"] == 6
    timeline = Timeline(place)
    (crash,) = timeline.named("crashed")
    assert "SIGKILL" in crash["args"]["cause"]
    (lost,) = timeline.category("lost")
    assert lost["pid"] == crash["pid"]
    assert lost["ts"] + lost["dur"] <= crash["ts"] + 0.001
    errors = [call["args"].get("error") for call in timeline.named("Dying")]
    assert sorted(filter(None, errors)) == ["its worker died"]
    assert len(timeline.named("start")) == 2
    assert len({event["pid"] for event in timeline.named("start")}) == 2


def test_a_call_that_is_sent_again_says_which_attempt_it_was(tmp_path: Path) -> None:
    place = tmp_path / "trace.json"
    with isopod.trace(place), isopod.load(MODELS / "deaths.py:Dying", retries=1) as model:
        with pytest.raises(isopod.WorkerCrashed):
            model(way="sigkill")
        assert model(x=3)["y"] == 6
    timeline = Timeline(place)
    calls = timeline.named("Dying")
    assert sorted(call["args"]["attempt"] for call in calls) == [1, 1, 2]
    assert len({call["tid"] for call in calls}) == 1, "one after the other"


def test_only_the_latest_calls_are_kept(tmp_path: Path) -> None:
    with isopod.load(MODELS / "basic.py:double") as model, isopod.trace(tmp_path / "trace.json", limit=3) as recorder:
        for number in range(10):
            model(x=number)
    assert (recorder.heard, recorder.forgotten, len(recorder.calls)) == (10, 7, 3)
    timeline = Timeline(tmp_path / "trace.json")
    assert timeline.about["forgotten"] == 7
    assert len(timeline.named("double")) == 3


def test_it_is_written_when_the_block_raises_and_not_when_it_cannot_begin(tmp_path: Path) -> None:
    place = tmp_path / "trace.json"
    with pytest.raises(ZeroDivisionError), isopod.trace(place):
        raise ZeroDivisionError
    assert Timeline(place).slices == {}
    for wrong, fact in (("trace.txt", "ends with one of .json, .json.gz"), ("no/trace.json", "there is no folder")):
        with pytest.raises(isopod.SpecError, match=fact), isopod.trace(tmp_path / wrong):
            pass
    with pytest.raises(isopod.SpecError, match="1 or more, not 0"), isopod.trace(place, limit=0):
        pass
    with isopod.trace(place), pytest.raises(isopod.SpecError, match="one trace at a time"), isopod.trace(place):
        pass
    assert recording.active is None


def test_what_is_there_already_stays_whole_if_a_trace_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "trace.json"
    place.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(isopod.SpecError, match="No space left"), isopod.trace(place):
        pass
    assert place.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]


def test_a_forked_copy_records_nothing_of_its_originals(tmp_path: Path) -> None:
    place = tmp_path / "trace.json"
    app = Application(f"""
with isopod.trace({str(place)!r}) as recorder, load() as model:
    model(do="double", x=1)
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        model(do="double", x=1)
    else:
        from isopod.runtime.observe import recording
        assert recording.active is None
if not child:
    os._exit(int(os.path.exists({str(place)!r})))
tell(recorder.heard)
""")
    code, out, err = app.end()
    assert (code, out.strip()) == (0, "2"), err
    assert len(Timeline(place).named("Swiss")) == 2


PROGRAM = f"""
import os, isopod
model = isopod.load({str(MODELS / "basic.py:Swiss")!r})
model(do="double", x=1)
child = os.fork()
if child == 0:
    own = isopod.load({str(MODELS / "basic.py:Swiss")!r})
    own(do="double", x=1)
    own(do="double", x=1)
    raise SystemExit
os.waitpid(child, 0)
print("done")
raise SystemExit(3)
"""


def test_an_application_is_traced_from_outside_with_its_forked_processes(tmp_path: Path) -> None:
    done = command("trace", "-o", "t.json", "--", sys.executable, "-c", PROGRAM, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("done\n")
    assert "t.json: " in done.stdout
    assert "open it in https://ui.perfetto.dev" in done.stdout
    (other,) = tmp_path.glob("t.*.json")
    calls = [len(Timeline(path).named("Swiss")) for path in (tmp_path / "t.json", other)]
    assert calls == [2, 1], "the forked one ended first"
    ends = [Timeline(path).named("ended") for path in (tmp_path / "t.json", other)]
    assert [len(one) for one in ends] == [1, 1], "the workers' ends are seen"


# It waits in turns: a signal that comes just before a wait is heeded at its end.
HEEDING = f"""
import isopod, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
model = isopod.load({str(MODELS / "basic.py:double")!r})
model(x=1)
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


@contextlib.contextmanager
def told(command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A command whose application is ready for signals; both are gone afterwards."""
    with subprocess.Popen(
        command, cwd=folder, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_ends_the_command_is_the_applications_to_heed(tmp_path: Path, number: signal.Signals) -> None:
    with told([*COMMAND, "trace", "--", sys.executable, "-c", HEEDING], tmp_path) as process:
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does it
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=GUARD)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 9}[number], err
    assert "trace.json: 1 call, 1 worker" in out
    assert len(Timeline(tmp_path / "trace.json").named("double")) == 1


def test_what_is_ignored_around_the_command_is_ignored_in_the_application(tmp_path: Path) -> None:
    """As by ``nohup``, or in the background of a script."""
    ignoring = ["sh", "-c", "trap '' INT TERM; exec \"$@\"", "sh"]
    asking = (
        "import signal; print(*(signal.getsignal(one) == signal.SIG_IGN for one in (signal.SIGINT, signal.SIGTERM)))"
    )
    tracing = [*COMMAND, "trace", "--", sys.executable, "-c", asking]
    for around, ignored in (([], "False False\n"), (ignoring, "True True\n")):
        done = subprocess.run(
            [*around, *tracing], cwd=tmp_path, env=environment(), text=True, capture_output=True, timeout=GUARD
        )
        assert done.stdout.startswith(ignored), done.stderr


def test_what_ends_the_command_is_heard_in_whichever_thread_it_comes_to(tmp_path: Path) -> None:
    """RACE lost signal: the wait is not interrupted, as where the signal comes just before it."""
    program = f"""
import signal, sys, threading
from isopod.__main__ import main
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
sys.exit(main(["trace", "--", sys.executable, "-c", {HEEDING!r}]))
"""
    with told([sys.executable, "-c", program], tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=GUARD)
    assert process.returncode == 9, err
    assert "trace.json: 1 call, 1 worker" in out


def test_a_model_is_traced(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.arange(6.0))
    model = str(MODELS / "basic.py:double")
    done = command("trace", model, "--inputs", "x.npz", "--calls", "3", "--callers", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trace.json: 6 calls, 1 worker; open it in" in done.stdout
    assert len(Timeline(tmp_path / "trace.json").named("double")) == 6


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ([], "name a model, or a command after --"),
        (["--"], "trace a model, or a command after --"),
        (["m.py:M", "--", "true"], "trace a model, or a command after --"),
        (["--", "no-such-command"], "no-such-command cannot be run"),
        (["-o", "t.txt", "m.py:M"], "ends with one of .json, .json.gz"),
        (["--calls", "0", "m.py:M"], "--calls is 1 or more"),
        (["no.py:M"], "there is no file"),
    ],
)
def test_what_cannot_begin_ends_with_2_and_one_line(tmp_path: Path, arguments: list[str], fact: str) -> None:
    done = command("trace", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("isopod: ")
    assert fact in done.stderr


def test_an_application_without_a_model_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text("of another day")
    done = command("trace", "--", sys.executable, "-c", "pass", cwd=tmp_path)
    assert done.returncode == 0
    assert "no trace" in done.stdout
    assert not (tmp_path / "trace.json").exists()
