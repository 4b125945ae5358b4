"""The interpreters of this machine: ask one what it is, and pick one for a request.

A worker runs the *base* interpreter, never a virtual environment's link to it, so every ``Interpreter`` here names the
real file. An interpreter is judged by running it (``-I -S``: nothing of its site-packages runs), never by its name
alone; names only say which ones are not worth running.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isopod.ipc.errors import SpecError

from .discovery import Candidate, candidates
from .versions import PythonRequest, Version

OLDEST = (3, 7)
_PROBE_SECONDS = 10.0
# Runs on every Python 3 that knows -I, so that a too old one can still say its version.
_PROBE = """\
import json, sys, sysconfig
print("isopod-probe:" + json.dumps({
    "executable": sys.executable, "version": sys.version_info[:3], "implementation": sys.implementation.name,
    "soabi": sysconfig.get_config_var("SOABI") or "", "platform": sysconfig.get_platform(),
    "prefix": sys.base_prefix}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A base interpreter, as it described itself."""

    executable: Path
    version: tuple[int, int, int]
    implementation: str
    soabi: str
    platform: str
    prefix: Path

    @property
    def minor(self) -> str:
        """``"3.11"``, as it stands in the names of its folders."""
        return f"{self.version[0]}.{self.version[1]}"

    def __str__(self) -> str:
        return f"{self.implementation} {'.'.join(map(str, self.version))} ({self.executable})"


class MissingPython(SpecError):
    """No interpreter of this machine satisfies a request."""


_known: dict[tuple[str, int, int], Interpreter] = {}


def probe(path: str | os.PathLike[str]) -> Interpreter:
    """Run the interpreter at ``path`` (10 s at most) and return the base interpreter behind it.

    The answer is remembered for as long as the file stays as it is. Raises ``SpecError``, naming the path, for a file
    that is missing, is no Python, or is older than Python 3.7.
    """
    file = Path(path)
    try:
        status = file.stat()
    except OSError as error:
        raise SpecError(f"there is no Python interpreter at {file}: {error.strerror}") from error
    memory = (os.path.abspath(file), status.st_mtime_ns, status.st_size)
    found = _known.get(memory)
    if found is None:
        found = _known[memory] = _ask(file)
    return found


def find(request: PythonRequest | str | None = None) -> Interpreter:
    """Return the best interpreter for a request.

    A path gives that interpreter. Otherwise the interpreter of this process is taken if it matches, and else the
    newest that does. Raises ``SpecError``, listing what this machine has, when none does.
    """
    wanted = request if isinstance(request, PythonRequest) else PythonRequest.parse(request)
    if wanted.path is not None:
        return probe(wanted.path)
    if wanted.matches(sys.version_info[:3]) and sys.implementation.name == "cpython" and sys.executable:
        return probe(sys.executable)
    best: Interpreter | None = None
    for candidate in sorted(candidates(), key=_upper_bound, reverse=True):
        if best is not None and best.version >= _upper_bound(candidate):
            break  # sorted by what they can be at most: no later one can be newer
        if not wanted.may_match(candidate.hint):
            continue
        found = _usable(candidate)
        if found is not None and wanted.matches(found.version) and (best is None or found.version > best.version):
            best = found
    if best is None:
        raise MissingPython(_missing(wanted))
    return best


def interpreters() -> tuple[Interpreter, ...]:
    """Return every interpreter of this machine that a worker can run on, newest first. Runs each one of them once."""
    found = {item.executable: item for item in (_usable(candidate) for candidate in candidates()) if item is not None}
    return tuple(sorted(found.values(), key=lambda item: item.version, reverse=True))


def base_of_venv(venv: Path) -> Iterator[Path]:
    """Yield the files, best first, that may be the base interpreter of a virtual environment (``venv`` and alike)."""
    settings = read_pyvenv(venv)
    if settings.get("executable"):  # written since Python 3.11
        yield Path(settings["executable"])
    link = venv / "bin" / "python"
    real = Path(os.path.realpath(link))
    if real.exists() and venv.resolve() not in real.parents:
        yield real
    release = (settings.get("version_info") or settings.get("version") or "").split(".")
    names = [f"python{release[0]}.{release[1]}"] if len(release) > 1 else []
    for name in (*names, "python3", "python"):
        yield Path(settings.get("home", "")) / name


def read_pyvenv(venv: Path) -> dict[str, str]:
    """Return the settings of ``pyvenv.cfg``, keys in lower case; empty where there is no such file."""
    try:
        text = (venv / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def clean_environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without what would steer another Python (``PYTHON*``), plus ``extra``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, **extra}


def _ask(file: Path) -> Interpreter:
    command = [os.path.abspath(file), "-I", "-S", "-B", "-c", _PROBE]
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, cwd="/",
            env=clean_environment(), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise SpecError(f"{file} did not answer within {_PROBE_SECONDS:.0f} s; is it a Python interpreter?") from error
    except OSError as error:
        raise SpecError(f"{file} is not a Python interpreter: {error.strerror}") from error
    errors = answer.stderr.decode(errors="replace").strip()
    if "Unknown option: -I" in errors:
        raise SpecError(f"{file} is a Python 2; workers run on Python {OLDEST[0]}.{OLDEST[1]} and later")
    facts = answer.stdout.decode(errors="replace").partition("isopod-probe:")[2]
    if answer.returncode != 0 or not facts:
        said = f" (it said: {errors.splitlines()[0][:200]})" if errors else ""
        raise SpecError(f"{file} is not a Python interpreter{said}")
    found = json.loads(facts)
    major, minor, patch = found["version"]
    if (major, minor) < OLDEST:
        raise SpecError(f"{file} is Python {major}.{minor}.{patch}; workers run on {OLDEST[0]}.{OLDEST[1]} and later")
    return Interpreter(
        executable=_base(Path(found["executable"] or os.path.abspath(file))),
        version=(major, minor, patch),
        implementation=found["implementation"],
        soabi=found["soabi"],
        platform=found["platform"],
        prefix=Path(found["prefix"]),
    )


def _base(executable: Path) -> Path:
    """Follow a virtual environment's interpreter, or any link, to the real file of the base interpreter."""
    for venv in (executable.parent.parent, executable.parent):
        if (venv / "pyvenv.cfg").is_file():
            for file in base_of_venv(venv):
                if os.access(file, os.X_OK):
                    return Path(os.path.realpath(file))
    return Path(os.path.realpath(executable))


def _usable(candidate: Candidate) -> Interpreter | None:
    """A candidate that runs, is CPython and is new enough; the errors of the others end here: they are not offered."""
    if candidate.hint is not None and len(candidate.hint) > 1 and candidate.hint[:2] < OLDEST:
        return None
    try:
        found = probe(candidate.path)
    except SpecError:
        return None
    return found if found.implementation == "cpython" else None


def _upper_bound(candidate: Candidate) -> Version:
    """The newest version that a candidate can turn out to be."""
    hint = candidate.hint or ()
    return (*hint, *(999,) * (3 - len(hint)))


def _missing(wanted: PythonRequest) -> str:
    have = ", ".join(f"{'.'.join(map(str, item.version))} ({item.executable})" for item in interpreters()) or "none"
    name = wanted.text or "any"
    lines = [f"no Python that satisfies {name!r} was found on this machine. Found: {have}."]
    if wanted.exact is not None and wanted.exact[:2] < OLDEST and len(wanted.exact) > 1:
        lines.append(f"Workers run on Python {OLDEST[0]}.{OLDEST[1]} and later.")
    else:
        version = name if wanted.exact is not None else "<version>"
        lines.append(f"Install one (uv python install {version}, or pyenv install {version}), or give the path of one.")
        lines.append("Env(download_python=True), or ISOPOD_PYTHON_DOWNLOADS=1, lets uv fetch it.")
    return " ".join(lines)
