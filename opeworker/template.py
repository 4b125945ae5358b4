"""A template: a process that becomes a model's environment, imports what its models import, and forks workers.

It computes nothing. A fork takes along one thread only, so whatever a library set going before it, its locks, its
thread pools, a GPU's context, is lost or stuck in the copy. Therefore a trial fork follows each import: libraries that
can be forked (OpenBLAS, for one) end their threads for it, and a thread that is still there afterwards belongs to one
that cannot. Then the template says that it is unfit, and why, and its workers are started the ordinary way.

A worker made here is a child of this process and not of the application, which so cannot wait for it: it says when a
dead one may be reaped, and until then its number is nobody else's.
"""

from __future__ import annotations

import _thread
import ast
import faulthandler
import gc
import importlib
import importlib.util
import os
import random
import signal
import socket
import sys
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from isopod.ipc import channel, protocol
from isopod.ipc.errors import ProtocolError
from isopod.ipc.protocol import Message
from isopod.opeworker import failure, stdio
from isopod.opeworker.activate import activate
from isopod.opeworker.guard import hold
from isopod.opeworker.incoming import Incoming

_OURS = ("isopod.opeworker.serve",)  # what each worker imports, with numpy
_SHOWN = 300  # characters of an error


class Ends(NamedTuple):
    """A worker's own ends of what its parent gave it."""

    control: int
    stdout: int
    stderr: int
    faults: int
    lifeline: int


def run(control: int, faults: int, lifeline: int) -> Tuple[Ends, int]:
    """Serve until the parent is gone, which ends this process.

    Returns in each forked worker, as a clean process, with the moment at which it began.
    """
    stdio.line_buffer()
    hold.hold(lifeline, forks_follow=False)
    hold.name_process("template")
    template = _Template(control)
    try:
        ends = template.serve()
    except Exception as error:  # goes to stderr, and so to the log; the parent sees the exit
        failure.excepthook_lines(error)
        os._exit(1)
    began = time.monotonic_ns()
    for descriptor in (faults, lifeline):
        os.close(descriptor)
    _settle_in(ends)
    return ends, began


class _Template:
    def __init__(self, control: int) -> None:
        self._socket = socket.socket(fileno=control)
        self._socket.set_inheritable(False)
        self._conversation = protocol.Conversation(protocol.CHILD, protocol.TEMPLATE_TRANSITIONS)
        self._incoming = Incoming(self._socket, self._conversation)
        self._unfit = ""

    def serve(self) -> Ends:
        self._send("hello", version=protocol.VERSION, pid=os.getpid(), python=sys.version.split()[0])
        prepare = self._incoming.next()
        if prepare.fields["version"] != protocol.VERSION:
            raise ProtocolError(f"the parent speaks version {prepare.fields['version']} of the protocol")
        activate(prepare.fields["environment"])
        while True:
            order = self._incoming.next()
            if order.name == "reap":
                self._reap(order.fields["pid"])
            elif order.name == "fork":
                ends = self._fork(order.fields)
                if ends is not None:
                    return ends

    def _fork(self, order: Dict[str, Any]) -> Optional[Ends]:
        """The ends of the worker in the worker, None here."""
        ends = self._take_ends()
        modules = [str(name) for name in order["modules"]]
        skipped: Dict[str, str] = {}
        if not self._unfit:
            fresh, skipped = _import_all([*_OURS, *modules, *_imports_of(order["file"])], wanted=modules)
            self._unfit = _what_keeps_from_forking(fresh) if fresh else ""
        if self._unfit:
            self._send("unfit", reason=self._unfit)
        else:
            gc.freeze()  # what is here stays: a collection in a worker need not touch, and so copy, its pages
            pid = os.fork()
            if pid == 0:
                self._socket.close()
                if order["cpus"]:
                    os.sched_setaffinity(0, order["cpus"])
                return ends
            self._send("forked", pid=pid, skipped=skipped)
        for descriptor in ends:
            os.close(descriptor)
        return None

    def _reap(self, pid: int) -> None:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            return  # it is not one of ours: nothing to be reaped

    def _take_ends(self) -> Ends:
        return Ends(*(self._incoming.take_descriptor() for _ in Ends._fields))

    def _send(self, message: str, **fields: Any) -> None:
        try:
            channel.send_frame(self._socket, self._conversation.sending(Message(message, fields)))
        except OSError:
            hold.end_group()


def _import_all(names: List[str], wanted: List[str]) -> Any:
    """(modules that were imported just now, why each of the ``wanted`` was not)"""
    fresh: List[str] = []
    skipped: Dict[str, str] = {}
    for name in dict.fromkeys(names):
        if name in sys.modules:
            continue
        try:
            importlib.import_module(name)
            fresh.append(name)
        except Exception as error:
            # A wanted one's goes to the log; any other is the model's own business, which its worker tells of.
            if name in wanted:
                skipped[name] = f"{type(error).__name__}: {error}"[:_SHOWN]
    return fresh, skipped


def _imports_of(file: str) -> Iterator[str]:
    """What a model's file imports at its top from the environment; not what lies beside it, which is its own code."""
    try:
        with open(file, "rb") as stream:
            body = ast.parse(stream.read()).body
    except (OSError, SyntaxError, ValueError):
        return  # no file, or one whose fault the worker tells of
    for statement in body:
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
            names = [statement.module]
        else:
            continue
        yield from (name for name in names if _is_there(name.partition(".")[0]))


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _what_keeps_from_forking(fresh: List[str]) -> str:
    """Why a worker that is forked now might hang, or ""."""
    theirs = [name for name in fresh if not name.startswith("isopod.")]
    names = ", ".join(theirs or (name.rpartition(".")[2] for name in fresh))  # else a backend's, with its framework
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return f"the import of {names} set up CUDA, which cannot be forked"
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    threads = len(os.listdir("/proc/self/task")) - 1
    if threads or _thread._count():
        return f"the import of {names} started {threads} threads, and a fork does not take them along"
    return ""


def _settle_in(ends: Ends) -> None:
    """In a forked worker: become a process of one's own, as if executed."""
    os.setsid()
    os.dup2(ends.stdout, 1)
    os.dup2(ends.stderr, 2)
    os.close(ends.stdout)
    os.close(ends.stderr)
    faulthandler.enable(file=ends.faults, all_threads=True)
    faulthandler.register(hold.STACKS_SIGNAL, file=ends.faults, all_threads=True)
    signal.set_wakeup_fd(-1)
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()  # else each worker would draw the same numbers
