"""What a build is made from: all that is known before anything runs, whichever installer does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .interpreter import Interpreter
from .lock import Lock
from .requirements import Complete
from .sources import Sources
from .spec import InstallerName
from .urls import redact


@dataclass(frozen=True)
class Plan:
    """What to build. ``installer`` is the one that was chosen, never "whichever there is"."""

    interpreter: Interpreter
    wanted: Complete
    sources: Sources
    from_source: tuple[str, ...]
    warm: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    lock: Lock | None = None
    allow_source: bool = False
    unset: tuple[str, ...] = ()
    installer: InstallerName = "uv"

    @property
    def wish(self) -> list[str]:
        """What is asked for, in lines fit to be read: no credentials."""
        if self.lock is not None:
            return [f"wanted: {self.lock}"]
        lists = {"wanted": self.wanted.requirements, "constraints": self.constraints, "overrides": self.overrides}
        return [f"{name}: {redact(', '.join(items))}" for name, items in lists.items() if items]


def site_folder(prefix: Path, interpreter: Interpreter) -> Path:
    """Return the one folder that packages are installed into in an environment of ours."""
    return prefix / "lib" / f"python{interpreter.minor}" / "site-packages"


def write_list(file: Path, requirements: Sequence[str]) -> str:
    """Write requirements to a file, for a URL among them may hold a password, and anybody can read a command line."""
    file.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    return str(file)
