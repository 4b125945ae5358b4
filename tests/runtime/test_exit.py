"""How an application ends, and how it is stopped: its workers go with it, nothing hangs, stderr has what it should."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from application import Application, gone
from waits import until

# program → (exit code, how many tracebacks there are on stderr, a fact of them)
ENDINGS: dict[str, tuple[str, int, int, str]] = {
    "unhandled exception": ("raise ValueError('as any')", 1, 1, "ValueError: as any"),
    "an error of ours": ("model(nothing=1)", 1, 1, "isopod.ipc.errors.SpecError"),
    "sys.exit in a thread": ("threading.Thread(target=lambda: sys.exit(5)).start()", 0, 0, ""),
    "an exception in a thread": (
        "threading.excepthook = lambda _: tell('hook'); threading.Thread(target=lambda: model(do='raise')).start()",
        0, 0, "",
    ),
    "a thread in a call": ("threading.Thread(target=lambda: model(do='sleep', x=0.3)).start()", 0, 0, ""),
    "a daemon in a call": (
        "threading.Thread(target=lambda: model(do='sleep', x=3600), daemon=True).start(); time.sleep(0.1)", 0, 0, "",
    ),
    "a daemon that calls all the time": (
        "threading.Thread(target=lambda: [model(do='double', x=1) for _ in iter(int, 1)], daemon=True).start()",
        0, 0, "",
    ),
    "a daemon that waits for a future": (
        "threading.Thread(target=lambda: model.submit(do='sleep', x=3600).result(), daemon=True).start()", 0, 0, "",
    ),
    "a daemon with an error of its own": (
        "threading.Thread(target=lambda: 1 / 0, daemon=True).start(); time.sleep(0.1)", 0, 1, "ZeroDivisionError",
    ),
    "futures in flight": ("futures = [model.submit(do='sleep', x=3600) for _ in range(5)]", 0, 0, ""),
    "a loop that is left": (
        "import asyncio\nasync def left(): asyncio.ensure_future(model.acall(do='sleep', x=1))\nasyncio.run(left())",
        0, 0, "",
    ),
    "a load in flight": (
        "threading.Thread(target=lambda: isopod.load(MODELS + '/basic.py:Swiss'), daemon=True).start()", 0, 0, "",
    ),
    "os._exit": ("os._exit(4)", 4, 0, ""),
    "abort": ("signal.signal(signal.SIGABRT, signal.SIG_DFL); os.abort()", -signal.SIGABRT, 0, ""),
}  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_ending_ends_the_workers(ending: str) -> None:
    program, code, tracebacks, fact = ENDINGS[ending]
    application = Application(f"model = load()\ntell(model(do='pid')['pid'])\n{program}\n")
    worker = int(application.line())
    ended, _, err = application.end()
    gone(worker)
    assert ended == code, err
    assert err.count("\nTraceback (most recent") + err.startswith("Traceback") == tracebacks, err
    assert fact in err
    assert "Exception ignored" not in err
    if not tracebacks:
        assert err == ""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1], ids=lambda n: n.name
)
def test_a_signal_that_ends_the_application_ends_its_workers(number: signal.Signals) -> None:
    """By the default action no line of ours runs: the kernel does it all."""
    application = Application(
        f"""
models = [load() for _ in range(2)]
models[0].submit(do="sleep", x=3600)
tell(*[model.health.pid for model in models])
signal.signal({int(number)}, signal.SIG_DFL)
tell("ready")
time.sleep(3600)
"""
    )
    workers = [int(word) for word in application.line().split()]
    assert application.line() == "ready"
    application.process.send_signal(number)
    code, _, err = application.end()
    assert (code, err) == (-number, "")
    for worker in workers:
        gone(worker)


def test_exec_leaves_no_worker_and_no_descriptor() -> None:
    application = Application(
        """
first, second = load(), load(crash_reports="/nowhere")
kept = first(do="shared")
second.submit(do="sleep", x=3600)
second.submit(do="double", x=np.zeros(1 << 22))
tell(first.health.pid, second.health.pid)
os.execv(sys.executable, [sys.executable, "-I", "-c", '''
import os
open_ones = []
for name in os.listdir("/proc/self/fd"):
    try:
        if int(name) > 2:
            open_ones.append(os.readlink("/proc/self/fd/" + name))
    except OSError:
        pass  # the listing's own
print(open_ones, flush=True)
'''])
"""
    )
    workers = [int(word) for word in application.line().split()]
    for worker in workers:
        gone(worker)
    assert application.end() == (0, "[]\n", "")


@pytest.mark.parametrize("waiting", [0, 3])
def test_ctrl_c_for_the_whole_group_is_one_traceback(waiting: int) -> None:
    """A terminal sends it to every process of the foreground group: the workers are in groups of their own."""
    application = Application(
        f"""
os.setpgrp()
models = [load() for _ in range(3)]
tell(*[model.health.pid for model in models])
for _ in range({waiting}):
    threading.Thread(target=lambda: models[1](do="sleep", x=3600), daemon=True).start()
models[2].submit(do="sleep", x=3600)
tell("waiting")
models[0](do="sleep", x=3600)
"""
    )
    workers = [int(word) for word in application.line().split()]
    assert application.line() == "waiting"
    os.killpg(application.process.pid, signal.SIGINT)
    code, out, err = application.end()
    assert (code, out) == (-signal.SIGINT, "")
    assert err.count("Traceback (most recent call last)") == 1, err
    assert err.rstrip().endswith("KeyboardInterrupt")
    for worker in workers:
        gone(worker)


def test_a_stopped_application_goes_on_where_it_was() -> None:
    application = Application(
        """
os.setpgrp()
model = load()
tell(model.health.pid)
future = model.submit(do="sleep", x=0.5)
tell("waiting")
future.result()
sys.stdin.readline()
tell(*[model(do="double", x=number)["y"] for number in range(3)], model.health.restarts)
"""
    )
    worker = psutil.Process(int(application.line()))
    assert application.line() == "waiting"
    os.killpg(application.process.pid, signal.SIGTSTP)
    this = psutil.Process(application.process.pid)
    until(lambda: this.status() == psutil.STATUS_STOPPED)
    assert worker.status() != psutil.STATUS_STOPPED  # and may end its call, with nobody there to take the answer
    os.killpg(application.process.pid, signal.SIGCONT)
    assert application.process.stdin is not None
    application.process.stdin.write("\n")
    assert application.end() == (0, "0 2 4 0\n", "")
    gone(worker.pid)


@pytest.mark.parametrize("error", ["ValueError('mine')", "KeyboardInterrupt", "SystemExit(3)", "GeneratorExit"])
def test_an_exception_inside_with_closes_the_model(error: str) -> None:
    application = Application(
        f"""
try:
    with load() as model:
        worker = model(do="pid")["pid"]
        future = model.submit(do="sleep", x=0.25)
        raise {error}
except BaseException as caught:
    tell(worker, type(caught).__name__, model.health.state, future.result()["slept"] if future.done() else "undone")
    try:
        model(do="pid")
    except isopod.Closed as closed:
        tell(closed)
with load() as model:
    tell(model(do="double", x=4)["y"])
"""
    )
    worker, name, state, answer = application.line().split()
    gone(int(worker))
    assert name == error.partition("(")[0]
    assert (state, answer) == ("closed", "0.25")
    code, out, err = application.end()
    assert (code, out, err) == (0, "model 'Swiss' is closed; load it again\n8\n", "")
