# mypy: ignore-errors
"""Attacks on what the worker shares with the application: segments, rings, doorbells and the control channel.

They reach into the worker's own objects: whoever runs code in a process has all of it.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import random
import socket
import sys
import threading
import time
from typing import Any

import native
import numpy as np

from isopod import worker

Victims = dict[str, Any]
_kept: list[Any] = []


def _link() -> Any:
    return next(one for one in gc.get_objects() if type(one).__name__ == "Link" and hasattr(one, "outbell"))


def shrink_a_segment(victims: Victims, _: Any) -> bool:
    shrunk = False
    for number in native.descriptors():
        try:
            if os.fstat(number).st_size:
                os.ftruncate(number, 0)
                shrunk = True
        except OSError:
            continue
    return shrunk


def punch_a_hole_into_an_input(victims: Victims, x: Any) -> bool:
    """Zeroes what the application has sent, in the application's own memory."""
    punched = False
    for number in native.descriptors():
        try:
            status = os.fstat(number)
            if status.st_size >= x.nbytes:
                result = ctypes.CDLL(None, use_errno=True).fallocate(
                    number, 3, ctypes.c_long(0), ctypes.c_long(status.st_size)
                )
                punched = punched or (result == 0 and not x.any())
        except OSError:
            continue
    return punched


def write_into_an_input(victims: Victims, x: Any) -> bool:
    x[...] = 77  # numpy refuses where it is flagged
    return True


def write_into_an_input_by_address(victims: Victims, x: Any) -> bool:
    address = x.__array_interface__["data"][0]
    ctypes.memset(address, 77, x.nbytes)
    return True


def map_an_input_again(victims: Victims, x: Any) -> bool:
    """With the descriptor that it has, or opened anew through /proc, to write."""
    import mmap

    for number in native.descriptors():
        for path in (None, f"/proc/self/fd/{number}"):
            try:
                size = os.fstat(number).st_size
                if size < x.nbytes:
                    continue
                descriptor = number if path is None else os.open(path, os.O_RDWR)
                again = mmap.mmap(descriptor, size)
            except (OSError, ValueError):
                continue
            at = again.find(x.tobytes()[:64])
            if at >= 0:
                again[at : at + x.nbytes] = b"\x4d" * x.nbytes
                return bool((x == 77).all() or x.tobytes() == b"\x4d" * x.nbytes)
    return False


def make_an_input_writable(victims: Victims, x: Any) -> bool:
    """The pages that it was given to read, made writable by the kernel."""
    library = ctypes.CDLL(None, use_errno=True)
    address = x.__array_interface__["data"][0]
    page = address & ~4095
    if library.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(address - page + x.nbytes), 3) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    ctypes.memset(address, 77, x.nbytes)
    return True


def discard_an_input(victims: Victims, x: Any) -> bool:
    """Its pages, given back to the kernel: the application would read zeros."""
    library = ctypes.CDLL(None, use_errno=True)
    page = x.__array_interface__["data"][0] & ~4095
    if library.madvise(ctypes.c_void_p(page), ctypes.c_size_t(8192), 9) != 0:  # MADV_REMOVE
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return True


# The same with what another model has returned, in the memory that it writes into: x is one of its outputs here.


def punch_a_hole_into_a_neighbours_output(victims: Victims, x: Any) -> bool:
    return punch_a_hole_into_an_input(victims, x)


def write_into_a_neighbours_output(victims: Victims, x: Any) -> bool:
    return write_into_an_input_by_address(victims, x)


def map_a_neighbours_output_again(victims: Victims, x: Any) -> bool:
    return map_an_input_again(victims, x)


def make_a_neighbours_output_writable(victims: Victims, x: Any) -> bool:
    return make_an_input_writable(victims, x)


def discard_a_neighbours_output(victims: Victims, x: Any) -> bool:
    return discard_an_input(victims, x)


def read_a_neighbours_memory(victims: Victims, _: Any) -> bool:
    """What it has returned to others lies beside what was sent on."""
    return any(one.map.find(victims["marker"].encode()) >= 0 for one in _link()._segments.values())


def change_an_output_afterwards(victims: Victims, x: Any) -> dict[str, Any]:
    """The array that was returned goes on changing, while the application looks at it."""
    out = worker.empty(1 << 16, np.uint8)
    out[...] = 1
    address = out.__array_interface__["data"][0]

    def flip() -> None:
        for number in range(2_000_000):
            ctypes.memset(address, number & 0x7F, 1 << 16)

    threading.Thread(target=flip, daemon=True).start()
    return {"outcome": "look", "why": "", "out": out}


def booleans_of_other_values(victims: Victims, x: Any) -> dict[str, Any]:
    """numpy counts a mask's bytes in one way and follows it in another, which leads out of the array."""
    out = worker.empty(1024, np.bool_)
    out.view(np.uint8)[...] = 255
    return {"outcome": "look", "why": "", "mask": out}


def _record(link: Any, call: int, tensors: Any = (), kind: int = 2, extra: Any = None) -> bytes:
    records = sys.modules["isopod.ipc.record"]
    return bytes(records.encode(kind, call, (1, 1, 1, 1, 0), tensors, extra))


def _running() -> int:
    return int(sys.modules["isopod.opeworker.context"].running_call())


def double_answer(victims: Victims, _: Any) -> bool:
    link = _link()
    record = _record(link, _running(), extra={"values": [[0, "outcome", "twice"], [1, "why", ""]]})
    link.answer(record)
    link.answer(record)
    return False


def answer_of_another_call(victims: Victims, _: Any) -> bool:
    link = _link()
    link.answer(_record(link, _running() + 1, extra={"values": [[0, "outcome", "another's"]]}))
    return False


def answer_of_no_call(victims: Victims, _: Any) -> bool:
    link = _link()
    link.answer(_record(link, 1 << 60))
    return False


def output_outside_of_its_segment(victims: Victims, _: Any) -> bool:
    tensor = sys.modules["isopod.ipc.record"].Tensor("out", 6, (1 << 40,), 1, 0, 0, 1 << 40)
    link = _link()
    link.answer(_record(link, _running(), [tensor]))
    return False


def output_in_memory_of_the_application(victims: Victims, x: Any) -> bool:
    """In the segment of the inputs, where nothing was lent."""
    tensor = sys.modules["isopod.ipc.record"].Tensor("out", 6, (64,), 1, 512, 512 * 64, 64)
    link = _link()
    link.answer(_record(link, _running(), [tensor]))
    return False


def object_dtype(victims: Victims, _: Any) -> bool:
    """Pointers of the worker's choosing, if the application believed it."""
    tensor = sys.modules["isopod.ipc.record"].Tensor("out", 255, (1,), 1, 0, 0, 8)
    link = _link()
    link.answer(_record(link, _running(), [tensor]))
    return False


def huge_outputs(victims: Victims, _: Any) -> bool:
    """One block under four thousand names: to copy each would take more memory than there is."""
    link = _link()
    out = worker.empty(1 << 26, np.uint8)
    _kept.append(out)
    item = gc_tensor(link, out)
    tensors = [item._replace(name=f"out{number}") for number in range(4000)]
    records = sys.modules["isopod.ipc.record"]
    record = _record(link, _running(), tensors)
    big = worker.empty(len(record), np.uint8)
    big[...] = np.frombuffer(record, np.uint8)
    _kept.append(big)
    spilled = records.encode(2, _running(), (1, 1, 1, 1, 0), [gc_tensor(link, big)], flags=records.SPILLED)
    link.answer(spilled)
    return False


def gc_tensor(link: Any, array: Any) -> Any:
    """Where an array of ours lies, as the wire says it."""
    segment, start, offset = sys.modules["isopod.ipc.lease"].locate(array)
    index = link.index_of(segment)
    return sys.modules["isopod.ipc.record"].Tensor("out", 6, array.shape, index, start // 64, offset, array.nbytes)


def flip_headers(victims: Victims, _: Any) -> bool:
    """Random words all over its outbox, and the bell rung, for a while."""
    link = _link()
    memory = link._outbox_control.map
    chance = random.Random(7)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        at = chance.randrange(0, len(memory) - 8)
        memory[at : at + 8] = chance.randbytes(8)
        link.outbell.ring()
    return False


def flood_the_bell(victims: Victims, _: Any) -> bool:
    link = _link()
    for _ in range(200_000):
        link.outbell.ring()
    return False


def flood_the_log(victims: Victims, _: Any) -> bool:
    line = "flood " * 2000
    for _ in range(3000):
        print(line)
        print(line, file=sys.stderr)
    return False


def frames_of_garbage(victims: Victims, _: Any) -> bool:
    for number in native.descriptors():
        try:
            with socket.socket(fileno=os.dup(number)) as sock:
                sock.send(b"\xff" * 4096)
        except OSError:
            continue
    return False


def millions_of_maps(victims: Victims, _: Any) -> bool:
    """A frame that says that it is a list of a million empty maps."""
    frame = b"\xdd\x00\x00\xff\x00" + b"\x80" * 0xFF00
    for number in native.descriptors():
        try:
            with socket.socket(fileno=os.dup(number)) as sock:
                sock.send(len(frame).to_bytes(4, "little") + frame)
        except OSError:
            continue
    return False


def descriptors_to_the_application(victims: Victims, _: Any) -> bool:
    sent = False
    for number in native.descriptors():
        try:
            with socket.socket(fileno=os.dup(number)) as sock:
                room = np.array([0] * 16, dtype=np.int32).tobytes()
                sock.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, room)])
                sent = True
        except OSError:
            continue
    return sent


def close_everything(victims: Victims, _: Any) -> bool:
    os.closerange(0, 4096)
    return False


def become_asynchronous(victims: Victims, _: Any) -> bool:
    """The lifeline, told to signal somebody else."""
    done = False
    for number in native.descriptors():
        try:
            fcntl.fcntl(number, fcntl.F_SETOWN, victims["pid"])
            done = True
        except OSError:
            continue
    return done


ATTACKS = {
    one.__name__: one
    for one in (
        shrink_a_segment, punch_a_hole_into_an_input, write_into_an_input, write_into_an_input_by_address,
        map_an_input_again, make_an_input_writable, discard_an_input, punch_a_hole_into_a_neighbours_output,
        write_into_a_neighbours_output, map_a_neighbours_output_again, make_a_neighbours_output_writable,
        discard_a_neighbours_output, read_a_neighbours_memory,
        change_an_output_afterwards, booleans_of_other_values, double_answer,
        answer_of_another_call, answer_of_no_call, output_outside_of_its_segment, output_in_memory_of_the_application,
        object_dtype, huge_outputs, flip_headers, flood_the_bell, flood_the_log, frames_of_garbage, millions_of_maps,
        descriptors_to_the_application, become_asynchronous, close_everything,
    )
}  # fmt: skip
