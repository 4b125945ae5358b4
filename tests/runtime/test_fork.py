"""Forks of the application: in whatever moment it is copied, a model stays the original's, and a copy has its own.

A child that hangs is ended by an alarm, so that its parent, and with it the test, sees how it ended.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from application import MODELS, Application, gone
from waits import GUARD

CHILDREN = """
def ended(status):
    return os.waitstatus_to_exitcode(status)

def fork(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            work()
            os._exit(0)
        except SystemExit:
            raise
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return pid

def is_closed(use):
    try:
        use()
    except isopod.Closed as error:
        return f"belongs to process {os.getppid()}, which this one was forked from; load it here" in str(error)
    return False
"""


def test_a_pre_fork_server() -> None:
    """The parent has a model; each child has one of its own, and ends in its own way. The parent's outlives them."""
    application = Application(
        CHILDREN
        + """
model = load()
mine = model(do="pid")["pid"]
kept = model(do="shared")
array = model.empty("x", 1000)
def serve(ending):
    uses = [lambda: model(do="pid"), lambda: model.submit(do="pid"), lambda: model.empty("x", 10), model.stats,
            lambda: next(model.map([{"do": "pid"}]))]
    assert all(map(is_closed, uses)), "the parent's model was used"
    assert (model.health.state, model.health.pid) == ("closed", None)
    model.close()
    own = load()
    theirs = own(do="pid")["pid"]
    assert theirs != mine
    assert [own(do="double", x=number)["y"] for number in range(5)] == [0, 2, 4, 6, 8]
    tell(theirs)
    globals().update(kept=None, array=None)
    gc.collect()
    ending()
children = [fork(lambda ending=ending: serve(ending)) for ending in
            (lambda: sys.exit(0), lambda: os._exit(0), lambda: os.kill(os.getpid(), signal.SIGKILL))]
codes = sorted(ended(os.waitpid(child, 0)[1]) for child in children)
tell(*codes, model(do="pid")["pid"] == mine, model.health.state, model.health.restarts)
"""
    )
    workers = [int(application.line()) for _ in range(3)]
    for worker in workers:
        gone(worker)
    assert application.end() == (0, "-9 0 0 True ready 0\n", "")


def test_a_child_that_runs_to_its_end_leaves_nothing_of_its_own() -> None:
    """A child that goes on like its parent, through atexit and all, as after a daemon's double fork."""
    application = Application(
        """
model = load()
mine = model(do="pid")["pid"]
child = os.fork()
if child == 0:
    signal.alarm(60)
    own = load()
    tell(own(do="pid")["pid"])
    sys.exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
tell(code, model(do="pid")["pid"] == mine)
"""
    )
    gone(int(application.line()))
    assert application.end() == (0, "7 True\n", "")


def test_when_the_parent_is_killed_only_its_own_workers_follow() -> None:
    application = Application(
        CHILDREN
        + """
model = load()
read, write = os.pipe()
def serve():
    os.close(write)
    own = load()
    tell(own(do="pid")["pid"])
    os.read(read, 1)  # until the parent is dead
    tell(own(do="double", x=4)["y"])
fork(serve)
tell(model(do="pid")["pid"])
time.sleep(3600)
"""
    )
    first, second = int(application.line()), int(application.line())
    family = {process.pid for process in psutil.Process(application.process.pid).children()}
    parents, childs = (first, second) if first in family else (second, first)
    assert parents in family
    assert childs not in family
    application.process.kill()
    gone(parents)
    assert application.line() == "8"
    gone(childs)
    application.end()


def test_a_child_that_was_forked_in_the_middle_of_a_load_does_not_keep_its_worker(tmp_path: Path) -> None:
    """The copy holds no end of what that worker lives by, though no model and no session knew of it yet."""
    (tmp_path / "slow.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(3600)\n")
    application = Application(
        CHILDREN
        + f"""
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
threading.Thread(target=lambda: isopod.load({str(tmp_path / "slow.py")!r} + ":f"), daemon=True).start()
sys.stdin.readline()
child = fork(lambda: (signal.alarm(0), time.sleep(3600)))  # longer than anybody waits here
tell(child)
time.sleep(3600)
"""
    )
    assert application.line() == "loading"
    (worker,) = psutil.Process(application.process.pid).children()
    assert application.process.stdin is not None
    application.process.stdin.write("\n")
    application.process.stdin.flush()
    child = int(application.line())
    application.process.kill()
    try:
        gone(worker.pid)
    finally:
        os.kill(child, signal.SIGKILL)
        application.end()


def test_forks_while_other_threads_call() -> None:
    """Whatever lock a caller, a dispatcher or the monitor holds in that moment, the copy does not wait for it."""
    application = Application(
        CHILDREN
        + """
model = load(timeout=60)
stop = threading.Event()
counts = [0] * 3
def work(number):
    while not stop.is_set():
        x = model.empty("x", 1000)
        x[:] = number
        if number == 2:
            assert model.submit(do="double", x=x).result()["y"][0] == 2 * number
        else:
            assert model(do="double", x=x)["y"][0] == 2 * number
        counts[number] += 1
threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
[thread.start() for thread in threads]
def use():
    assert is_closed(lambda: model(do="pid"))
    assert is_closed(model.stats)
    assert model.health.state == "closed"
    repr(model)
    model.close()
    gc.collect()
def own():
    use()
    with load() as other:
        assert other(do="double", x=3)["y"] == 6
codes = [ended(os.waitpid(fork(own if turn % 10 == 0 else use), 0)[1]) for turn in range(40)]
stop.set()
[thread.join() for thread in threads]
tell(set(codes), min(counts) > 0, model.health.restarts, model(do="double", x=1)["y"])
model.close()
"""
    )
    assert application.end() == (0, "{0} True 0 2\n", "")


def test_forks_while_another_thread_loads_and_closes() -> None:
    application = Application(
        CHILDREN
        + """
stop = threading.Event()
loads = []
def work():
    while not stop.is_set():
        with load() as model:
            loads.append(model(do="double", x=4)["y"])
thread = threading.Thread(target=work)
thread.start()
before = set(os.listdir("/proc/self/fd"))
def own():
    sockets = [name for name in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + name)
               and os.readlink("/proc/self/fd/" + name).startswith(("socket:", "anon_inode:[pidfd"))]
    assert not sockets, "a worker's descriptors are open in the copy"
def load_too():
    own()
    with load() as model:
        assert model(do="double", x=3)["y"] == 6
codes = set()
turn = 0
while turn < 60 or len(loads) < 3:
    codes.add(ended(os.waitpid(fork(load_too if turn % 20 == 0 else own), 0)[1]))
    turn += 1
    time.sleep(0.01)
stop.set()
thread.join()
tell(codes, set(loads))
"""
    )
    assert application.end() == (0, "{0} {8}\n", "")


# ---------------------------------------------------------------------- multiprocessing

POOL = """
import multiprocessing, os, sys
import isopod
MODEL = {model!r}

def once(queue):
    model = isopod.load(MODEL)
    queue.put((model(do="pid")["pid"], int(model(do="double", x=21)["y"])))
    queue.close()
    queue.join_thread()
    # and no close: multiprocessing ends its children by os._exit, without atexit

def start():
    global model
    model = isopod.load(MODEL)

def ask(x):
    return int(model(do="double", x=x)["y"]), int(model(do="pid")["pid"])

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    mine = isopod.load(MODEL)
    pid = mine(do="pid")["pid"]
    queue = context.Queue()
    process = context.Process(target=once, args=(queue,))
    process.start()
    print(*queue.get(timeout=60), flush=True)
    process.join()
    print(process.exitcode, flush=True)
    with context.Pool(2, initializer=start) as pool:
        answers = pool.map(ask, range(6), chunksize=1)
    print([y for y, _ in answers], flush=True)
    print(*{{worker for _, worker in answers}}, flush=True)
    print(mine(do="pid")["pid"] == pid, mine.health.restarts, flush=True)
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.slow)])
def test_multiprocessing(tmp_path: Path, method: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(POOL.format(model=str(MODELS / "basic.py:Swiss"), method=method))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=2 * GUARD)
    assert (done.returncode, done.stderr) == (0, "")
    first, code, answers, workers, parents = done.stdout.splitlines()
    own, answer = map(int, first.split())
    assert (answer, code) == (42, "0")
    assert answers == "[0, 2, 4, 6, 8, 10]"
    assert parents == "True 0"
    for worker in (own, *map(int, workers.split())):
        gone(worker)


# ---------------------------------------------------------------------- a real pre-fork server

SITE = """
import os
import isopod

first = isopod.load({model!r})   # before the fork: gunicorn runs with preload_app
first(do="pid")
own = None

def app(environ, start_response):
    global own
    try:
        first(do="pid")
        refused = "no"
    except isopod.Closed:
        refused = "yes"
    if own is None:
        own = isopod.load({model!r})
    text = " ".join(map(str, (os.getpid(), own(do="pid")["pid"], own(do="double", x=21)["y"], refused)))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"""


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    target = tmp_path / "packages"
    uv = shutil.which("uv", path=os.path.dirname(sys.executable)) or "uv"
    subprocess.run([uv, "pip", "install", "-q", "--python", sys.executable, "--target", target, "gunicorn"], check=True)
    (tmp_path / "site_.py").write_text(SITE.format(model=str(MODELS / "basic.py:Swiss")))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--preload", "--workers=3", f"--bind=127.0.0.1:{port}", "site_:app"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{target}:{tmp_path}"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield server, port
    if server.poll() is None:
        server.kill()
    server.communicate()


@pytest.mark.network
@pytest.mark.slow
def test_gunicorn_with_a_preloaded_application(gunicorn: tuple[subprocess.Popen[str], int]) -> None:
    server, port = gunicorn
    assert server.stderr is not None
    while "Booting worker" not in (line := server.stderr.readline()):
        assert line, "gunicorn did not start"
    answers = set()
    for _ in range(200):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=GUARD) as answer:
            answers.add(answer.read().decode())
        if len(answers) >= 2:
            break
    assert all(answer.endswith(" 42 yes") for answer in answers), answers
    family = psutil.Process(server.pid).children(recursive=True)
    ours = [process.pid for process in family if "bootstrap.py" in " ".join(process.cmdline())]
    assert len(ours) >= 2
    # One child is killed, as by its arbiter after a timeout: its worker follows, and another child takes its place.
    child, worker, *_ = sorted(answers)[0].split()
    os.kill(int(child), signal.SIGKILL)
    gone(int(worker))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=GUARD) as answer:
        assert answer.read().decode().endswith(" 42 yes")
    server.send_signal(signal.SIGTERM)
    _, err = server.communicate(timeout=GUARD)
    assert server.returncode == 0, err
    for pid in ours:
        gone(pid)
    assert "Traceback" not in err, textwrap.indent(err, "  ")
