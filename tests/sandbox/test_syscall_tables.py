"""The tables of system calls are the kernel's own, and the policy speaks of nothing that they do not hold."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from isopod.opeworker.guard import policy
from isopod.opeworker.guard.seccomp import assemble
from isopod.opeworker.guard.syscalls import AARCH64, NUMBERS, X86_64

# What <uapi/asm/unistd.h> of arm64 defines before it includes the table that most architectures share.
ARM_WANTS = "\n".join(
    f"#define {name}"
    for name in (
        "__BITS_PER_LONG 64", "__ARCH_WANT_RENAMEAT", "__ARCH_WANT_NEW_STAT", "__ARCH_WANT_SET_GET_RLIMIT",
        "__ARCH_WANT_SYS_CLONE3",
    )
)  # fmt: skip
HEADERS = {
    X86_64: ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", ""),
    AARCH64: ("/usr/include/asm-generic/unistd.h", ARM_WANTS),
}


def numbers_of(header: str, before: str) -> dict[str, int]:
    """All numbers of a header, as the C preprocessor sees them."""
    text = f'{before}\n#include "{header}"\n'
    done = subprocess.run(["gcc", "-E", "-dM", "-"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    defined = dict(re.findall(r"#define (\w+) (\w+)", done.stdout))

    def value(word: str) -> str:
        while word in defined:
            word = defined[word]
        return word

    found = {name[5:]: value(word) for name, word in defined.items() if name.startswith("__NR_")}
    return {name: int(word) for name, word in found.items() if word.isdigit()}


@pytest.mark.parametrize("target", [X86_64, AARCH64], ids=lambda one: one.name)
def test_numbers_are_those_of_the_kernels_headers(target: object) -> None:
    header, before = HEADERS[target]  # type: ignore[index]
    if not Path(header).exists() or shutil.which("gcc") is None:
        pytest.skip("no headers of the kernel, or no gcc to read them")
    theirs = numbers_of(header, before)
    column = target.column  # type: ignore[attr-defined]
    assert {name: numbers[column] for name, numbers in NUMBERS.items()} == {
        name: theirs.get(name, -1) for name in NUMBERS
    }


@pytest.mark.parametrize("verdicts", [policy.ALONE, policy.STARTING])
def test_each_call_has_one_verdict(verdicts: policy.Policy) -> None:
    named = [*verdicts.allowed, *verdicts.ruled, *verdicts.refused]
    assert len(named) == len(set(named))
    assert set(named) <= set(NUMBERS)
    assert "clone3" not in named, "it must answer ENOSYS, or no thread can be started"


@pytest.mark.parametrize("verdicts", [policy.ALONE, policy.STARTING])
@pytest.mark.parametrize("target", [X86_64, AARCH64], ids=lambda one: one.name)
def test_every_jump_lands_within_the_program(target: object, verdicts: policy.Policy) -> None:
    program = assemble(target, 4711, verdicts)  # type: ignore[arg-type]
    count = len(program) // 8
    assert count <= 4096
    for index in range(count):
        code, skip_if, skip_else = program[index * 8], program[index * 8 + 2], program[index * 8 + 3]
        if code in (0x15, 0x35):
            assert index + 1 + max(skip_if, skip_else) < count
    assert program[-8:-6] == b"\x06\x00", "it ends with a verdict"
