"""The victims: files, listeners, a process with a marker in its memory, and this application itself. All are real, and
each is looked at after each attack."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

_PROCESS = """
import ctypes, os, signal, sys
marker = ctypes.create_string_buffer(sys.argv[1].encode())
count = 0
def counted(*_):
    global count
    count += 1
signal.signal(signal.SIGUSR1, counted)
print(ctypes.addressof(marker), flush=True)
for _ in sys.stdin:
    print(count, flush=True)
"""
_WAIT = 10.0  # seconds: a hang guard


class Listeners:
    """TCP, UDP, and unix sockets by path, by abstract name and for datagrams; ``heard`` is what has arrived."""

    def __init__(self, folder: Path) -> None:
        self.heard: list[str] = []
        self._changed = threading.Condition()
        self.abstract = f"isopod-attack-{os.getpid()}"
        self.path, self.datagram = str(folder / "stream"), str(folder / "datagram")
        self._sockets: list[socket.socket] = []
        self.tcp = self._listen(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))[1]
        self.udp = self._listen(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))[1]
        self._listen(socket.AF_UNIX, socket.SOCK_STREAM, self.path)
        self._listen(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + self.abstract)
        self._listen(socket.AF_UNIX, socket.SOCK_DGRAM, self.datagram)

    def _listen(self, family: int, kind: int, address: Any) -> Any:
        sock = socket.socket(family, kind)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen()
        self._sockets.append(sock)
        threading.Thread(target=self._hear, args=(sock, kind), daemon=True).start()
        return sock.getsockname()

    def _hear(self, sock: socket.socket, kind: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                if kind == socket.SOCK_DGRAM:
                    data = sock.recv(1000)
                else:
                    connection = sock.accept()[0]
                    with connection:
                        data = connection.recv(1000)
                with self._changed:
                    self.heard.append(data.decode(errors="replace"))
                    self._changed.notify_all()

    def has_heard(self, text: str, claimed: bool) -> bool:
        """Whether that has arrived; waits for it where the attacker claims so."""
        with self._changed:
            return self._changed.wait_for(lambda: text in self.heard, _WAIT if claimed else 0.0)


class Process:
    """Leads a group of its own, holds the marker at ``address``, and counts SIGUSR1."""

    def __init__(self, marker: str) -> None:
        self._marker = marker
        self._popen: subprocess.Popen[str] | None = None
        self.address = 0

    def alive(self) -> int:
        """Its number; it is started anew if an attack has ended it."""
        if self._popen is None or self._popen.poll() is not None:
            self.close()
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROCESS, self._marker],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self.address = int(self._said())
        return self._popen.pid

    def _said(self) -> str:
        assert self._popen is not None
        assert self._popen.stdout is not None
        return self._popen.stdout.readline()

    def signals(self) -> int:
        """How many it has had; -1 where it is dead."""
        assert self._popen is not None
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write("\n")
            self._popen.stdin.flush()
            return int(self._said())
        except (OSError, ValueError):
            return -1

    def close(self) -> None:
        if self._popen is not None:
            self._popen.kill()
            with contextlib.suppress(OSError):
                self._popen.communicate()


class Victims:
    """All of them, in a folder of their own."""

    def __init__(self, model_folder: Path, site: Path) -> None:
        self._stack = contextlib.ExitStack()
        self.marker = "marker-" + os.urandom(12).hex()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="isopod-attacks-")))
        self.listeners = Listeners(self.folder)
        self.process = Process(self.marker)
        self._stack.callback(self.process.close)
        self.dropping = f"dropping-{os.getpid()}"
        self._may_appear = [
            Path("/dev/shm") / f"isopod-attack-{os.getpid()}", model_folder / self.dropping, site / self.dropping,
        ]  # fmt: skip
        self.secret, self.file = self.folder / "private" / "secret", self.folder / "file"
        (self.folder / "mountpoint").mkdir()
        self.secret.parent.mkdir()
        self.secret.write_text(self.marker)
        self._usr1 = 0
        signal.signal(signal.SIGUSR1, self._count)
        self._before: Any = None
        self._heard = 0

    def _count(self, *_: object) -> None:
        self._usr1 += 1

    def facts(self) -> dict[str, Any]:
        """What an attacker is told."""
        pid = self.process.alive()
        return {
            "marker": self.marker, "secret": str(self.secret), "folder": str(self.folder), "file": str(self.file),
            "shm": str(self._may_appear[0]), "dropping": self.dropping, "site": str(self._may_appear[2].parent),
            "mountpoint": str(self.folder / "mountpoint"), "tcp": self.listeners.tcp, "udp": self.listeners.udp,
            "unix": self.listeners.path, "abstract": self.listeners.abstract, "datagram": self.listeners.datagram,
            "pid": pid, "address": self.process.address, "descriptors": 5000,
            "processes": 400, "stays": f"stays-{os.getpid()}", "setuid": os.environ.get("ISOPOD_ATTACK_SETUID", ""),
        }  # fmt: skip

    def _state(self) -> Any:
        status = self.file.stat() if self.file.exists() else None
        return (
            sorted(str(path) for path in self.folder.rglob("*")),
            [path.exists() for path in self._may_appear],
            None if status is None else (status.st_size, status.st_mode, status.st_mtime_ns, status.st_nlink),
            self.secret.read_text(),
            self._usr1,
            self.process.signals(),
            resource.getrlimit(resource.RLIMIT_MSGQUEUE),
            os.sched_getaffinity(0),
            os.getpriority(os.PRIO_PROCESS, 0),
            os.path.ismount(self.folder / "mountpoint"),
        )

    def set_up(self) -> None:
        """Before an attack: everything as it should be."""
        for path in self._may_appear:
            path.unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if path.name in ("created", "made", "fifo", "symlink") or path.name.startswith("file"):
                path.rmdir() if path.is_dir() else path.unlink()
        self.file.write_text("as it was")
        self.process.alive()
        self.listeners.heard.clear()
        self._before = self._state()

    def harmed(self, attack: str, claimed: bool) -> str:
        """What an attack has changed, seen from outside; empty for nothing."""
        after = self._state()
        changed = [name for name, one, two in zip(_SEEN, self._before, after, strict=True) if one != two]
        if os.path.ismount(self.folder / "mountpoint"):
            subprocess.run(["umount", str(self.folder / "mountpoint")], check=True)
        if after[7] != self._before[7]:
            os.sched_setaffinity(0, self._before[7])
        name = {"tcp": "tcp", "udp": "udp"}.get(attack, attack)
        if self.listeners.has_heard(name, claimed and attack in _HEARD):
            changed.append("a listener heard it")
        return ", ".join(changed)

    def close(self) -> None:
        self.set_up()
        self._stack.close()


_HEARD = ("tcp", "udp", "mptcp", "unix_path", "unix_abstract", "unix_datagram", "datagram_from_a_pair",
          "inherited_descriptor")  # fmt: skip
_SEEN = (
    "files", "droppings", "the file", "the secret", "signals to the application", "signals to the victim",
    "the application's limits", "the application's processors", "the application's priority", "a mount",
)  # fmt: skip
