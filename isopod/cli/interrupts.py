"""Ctrl-C that ends a command at once, whatever it waits for.

RACE lost signal: a signal ends a wait that has begun, and Python then looks what came. One that comes just before lets
the main thread wait to its end: once in some thirty times beside threads that work, for there it may have to pass the
interpreter on before it sleeps (CPython's ``drop_gil``). So it is knocked at again, by a signal that does nothing else.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator

_KNOCK = signal.SIGURG  # ignored by default: one that comes late does no harm
_PAUSES = (0.02, 0.1, 0.5)  # seconds


@contextlib.contextmanager
def heard_at_once() -> Iterator[None]:
    """While the block runs, in the main thread; does nothing in another, which no signal's handler runs in."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with contextlib.ExitStack() as stack:
        struck, told = socket.socketpair()
        stack.enter_context(struck)
        knocker = threading.Thread(target=_knock, args=(struck,), name="isopod-interrupts", daemon=True)
        knocker.start()
        stack.callback(knocker.join)
        stack.enter_context(told)  # closed first: that ends the thread
        told.setblocking(False)
        stack.callback(signal.signal, _KNOCK, signal.signal(_KNOCK, lambda *_: None))
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False))
        yield


def _knock(struck: socket.socket) -> None:
    main = threading.main_thread().ident
    assert main is not None
    pauses: list[float] = []
    while True:
        struck.settimeout(pauses[0] if pauses else None)
        try:
            numbers = struck.recv(64)  # of signals, a byte each; our own is among them
        except TimeoutError:
            signal.pthread_kill(main, _KNOCK)
            del pauses[0]
            continue
        if not numbers:
            return
        if signal.SIGINT in numbers:
            pauses = list(_PAUSES)
