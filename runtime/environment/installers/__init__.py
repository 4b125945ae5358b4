"""The programs that make a venv and fill it: uv, and pip on request or where there is no uv.

Both keep one contract: ``make_venv`` makes an empty environment that may be renamed, ``install`` fills it with what the
plan says or fails, and neither puts itself into it. Passwords go by files and by the process environment, never by a
command line.
"""

from __future__ import annotations

from typing import Protocol

from isopod.ipc.errors import EnvironmentBuildError
from isopod.runtime.environment.plan import Plan
from isopod.runtime.environment.spec import InstallerName

from . import uv
from .work import Work

__all__ = ["Installer", "Work", "choose", "installer"]


class Installer(Protocol):
    """One of them. ``remedies`` says what to do about the words it failed with, in lines."""

    def make_venv(self, work: Work) -> None: ...

    def install(self, work: Work) -> None: ...

    def remedies(self, plan: Plan, said: str) -> list[str]: ...


def installer(name: InstallerName) -> Installer:
    """Return an installer by its name."""
    if name == "uv":
        return uv.Uv()
    from . import pip  # most applications never need it, and it imports as much as all the rest

    return pip.Pip()


def choose(wanted: InstallerName | None) -> InstallerName:
    """The one that was asked for; else uv, and pip on a machine that uv has no program for."""
    if wanted is not None:
        return wanted
    try:
        uv.binary()
    except EnvironmentBuildError:
        return "pip"
    return "uv"
