"""Puts the compiled hot path into the place of the pure one, in the process that asks. A prototype's way of doing it.

``in_caller`` goes before the first model is loaded. ``in_worker`` is for a model file, while it is imported: by then
the worker has its ends of the rings, and has used none; they are looked up on the stack and exchanged. Runs on 3.8.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from typing import Any


def load(path: str) -> Any:
    """The extension, which knows the pure modules of this process."""
    spec = importlib.util.spec_from_file_location("hotpath", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from isopod.ipc import errors, plain, record

    functions = (plain.pack, plain.unpack, record.encode, record.decode)
    tables = (record._encoded_tensors, record._decoded_tensors, record._decode_tensors)
    module.configure((record.Record, errors.ProtocolError, *functions, *tables, tuple.__new__))
    return module


def replace_functions(module: Any) -> None:
    """What both sides have: how records are made and read."""
    from isopod.ipc import record

    record.encode, record.decode = module.encode, module.decode


def replace_rings(module: Any) -> None:
    from isopod.ipc import ring

    ring.RecordReader, ring.RecordWriter = module.RecordReader, module.RecordWriter
    ring.ReturnReader, ring.ReturnWriter = module.ReturnReader, module.ReturnWriter


def in_caller(path: str) -> None:
    """For every model that is loaded from now on. Not for sandboxed ones: their doorbell is another one."""
    module = load(path)
    replace_functions(module)
    replace_rings(module)
    from isopod.ipc.doorbell import ParentDoorbell, _map
    from isopod.ipc.mailbox import LOOK_UP
    from isopod.ipc.spin import Spin
    from isopod.runtime import mailboxes

    library = ctypes.CDLL(None, use_errno=True)

    def receiver(reader: Any, bell: ParentDoorbell, look_up: int = LOOK_UP, other: int = 0) -> Any:
        reader.listen(_map(library, bell.fd), look_up, Spin(other=other).budget_ns)
        return reader

    class Mailboxes(mailboxes.Mailboxes):
        def __init__(self, *, protected: bool = False) -> None:
            assert not protected, "the prototype has no guarded doorbell"
            super().__init__(protected=protected)
            self._writer.listen(_map(library, self._inbell.fd), 0, 0)

        def send(self, record: bytes) -> int:
            self.borrowed.flush()
            return int(self._writer.write(record))  # and it rings

    from isopod.runtime import session

    mailboxes.Receiver = receiver
    session.Mailboxes = Mailboxes


def _address_of(bell: Any) -> int:
    return ctypes.addressof(bell._post.args[0]._obj)


class _Returned:
    """The compiled end of the return ring, with what the pure one has beside it."""

    def __init__(self, reader: Any) -> None:
        self._take, self.ready = reader.take, reader.ready
        self._taken: Any = iter(())

    def next(self) -> Any:
        for key in self._taken:
            return key
        self._taken = iter(self._take())
        return next(self._taken, None)


def in_worker(path: str) -> None:
    """For this worker, from within the import of its model."""
    module = load(path)
    replace_functions(module)
    from isopod.ipc import layout, ring
    from isopod.ipc.spin import Spin

    link, server = _on_stack("Link"), _on_stack("Server")
    assert link.receiver.taken == 0, "the worker has begun to serve"
    address = _address_of(link.inbell)
    inbox, outbox = link._inbox, link._outbox_control
    inbox_shape, outbox_shape = ring.read_control(inbox), ring.read_control(outbox)
    reader = module.RecordReader(inbox, inbox_shape)
    reader.listen(address, link.receiver._look_up, Spin(other=os.getppid()).budget_ns)
    writer = module.RecordWriter(outbox, outbox_shape)
    writer.listen(_address_of(link.outbell), 0, 0)
    write, sent_word = writer.write, layout.SENT_WORD
    link.receiver, link._writer = reader, writer
    link.answer = lambda record: write(record, sent_word)
    link.return_writer = returning = module.ReturnWriter(outbox, outbox_shape, inbox)
    link.return_reader = _Returned(module.ReturnReader(inbox, inbox_shape, outbox))
    server._borrowed._writer, server._borrowed._waiting = returning, returning.waiting


def _on_stack(kind: str) -> Any:
    """The object of that class that somebody above us has as a local variable."""
    frame: Any = sys._getframe()
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if type(value).__name__ == kind:
                return value
        frame = frame.f_back
    raise LookupError(f"nobody on the stack has a {kind}: this is no worker that loads its model")
