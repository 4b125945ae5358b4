"""The filter of system calls: assembled from ``policy``, and handed to the kernel (seccomp(2), mode 2).

A program for the kernel's old packet filter: it loads words of ``struct seccomp_data`` and compares. Foreign calling
conventions (int 0x80, x32) end the process at once: their numbers mean other calls. Kernels since 5.11 remember which
numbers are allowed whatever their arguments are, so the length of the program costs an ordinary call nothing.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import List

from isopod.opeworker.guard import native, policy
from isopod.opeworker.guard.native import Unavailable
from isopod.opeworker.guard.syscalls import Architecture, architecture

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06  # <linux/bpf_common.h>
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000  # <linux/seccomp.h>
_INSTRUCTION = struct.Struct("<HBBI")
_MOST = 4096  # instructions that the kernel takes


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def assemble(target: Architecture, process: int, verdicts: policy.Policy = policy.ALONE) -> bytes:
    """The program, for an architecture and the process of that number."""
    program = _load(_ARCHITECTURE) + _equal(target.audit, 1, 0) + _return(_KILL) + _load(_NUMBER)
    if target.foreign:
        program += _INSTRUCTION.pack(_AT_LEAST, 0, 1, target.foreign) + _return(_KILL)
    for name, rule in verdicts.ruled.items():
        number = target.number(name)
        if number >= 0:
            body = b"".join(_check(one) for one in policy.conditions(rule, process)) + _return(_ALLOW)
            program += _equal(number, 0, len(body) // _INSTRUCTION.size) + body
    for names, verdict in ((verdicts.allowed, _ALLOW), (verdicts.refused, _ERROR | errno.EPERM)):
        for name in names:
            number = target.number(name)
            if number >= 0:
                program += _equal(number, 0, 1) + _return(verdict)
    return program + _return(_ERROR | errno.ENOSYS)


def install(process: int, *, starts: bool = False) -> str:
    """Filter this thread and all that it starts, which is processes, too, where it ``starts`` some.

    Needs no_new_privs. Raises ``Unavailable``.
    """
    target = architecture()
    if target is None:
        raise Unavailable(
            "seccomp", "there is no table of system calls for this processor", "it needs x86_64 or aarch64"
        )
    verdicts = policy.STARTING if starts else policy.ALONE
    program = assemble(target, process, verdicts)
    count = len(program) // _INSTRUCTION.size
    if count > _MOST:
        raise Unavailable("seccomp", f"the filter has {count} instructions", "this is a fault of isopod")
    try:
        native.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(_Program(count, program)))
    except OSError as error:
        raise Unavailable(
            "seccomp", f"the kernel takes no filter ({error.strerror})", "it needs CONFIG_SECCOMP_FILTER"
        ) from None
    return f"{len(verdicts.allowed)} system calls allowed, {len(verdicts.ruled)} by their arguments, on {target.name}"


def _check(condition: policy.Condition) -> bytes:
    refuse = _return(_ERROR | errno.EPERM)
    low = _load(_ARGUMENTS + 8 * condition.argument)
    if isinstance(condition, policy.Masked):
        mask = _INSTRUCTION.pack(_AND, 0, 0, condition.mask)
        return low + mask + _equal(condition.value, 1, 0) + refuse
    if isinstance(condition, policy.Null):
        high = _load(_ARGUMENTS + 8 * condition.argument + 4)
        return low + _equal(0, 1, 0) + refuse + high + _equal(0, 1, 0) + refuse
    tests: List[bytes] = []
    for index, value in enumerate(condition.values):
        tests.append(_equal(value & 0xFFFFFFFF, len(condition.values) - index, 0))
    return low + b"".join(tests) + refuse


def _load(offset: int) -> bytes:
    return _INSTRUCTION.pack(_LOAD, 0, 0, offset)


def _equal(value: int, skip_if: int, skip_else: int) -> bytes:
    """Compare what was loaded; skip so many instructions then, or else."""
    return _INSTRUCTION.pack(_EQUAL, skip_if, skip_else, value)


def _return(verdict: int) -> bytes:
    return _INSTRUCTION.pack(_RETURN, 0, 0, verdict)
