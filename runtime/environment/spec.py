"""``Env``: what a model's environment shall be, as a frozen value.

It says what is wanted and touches nothing: ``prepare`` turns it into folders. Everything in it is normalised when it
is made (requirements parsed, local paths absolute), so a wrong value fails where it was written.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from isopod.ipc.errors import SpecError

from . import devices, lock, projects, reqfiles, script
from . import requirements as rules
from .dates import instant
from .fields import RUN_TIME
from .threads import Threads, thread_counts
from .urls import absolute, expand, redact
from .versions import PythonRequest

InstallerName = Literal["uv", "pip"]
_LISTS = (
    "requirements", "constraints", "overrides", "extra_index_urls", "find_links", "from_source", "unset", "warm",
)  # fmt: skip
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Variables(Mapping[str, str]):
    """An immutable, hashable mapping of environment variables."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str] | None = None) -> None:
        self._items = dict(sorted((items or {}).items()))

    def __getitem__(self, name: str) -> str:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple(self._items.items()))

    def __eq__(self, other: object) -> bool:
        return self._items == dict(other) if isinstance(other, Mapping) else NotImplemented

    def __repr__(self) -> str:
        return repr(self._items)


@dataclass(frozen=True, repr=False)
class Env:
    """The environment of a model: one to be built and cached, or (``existing``, ``current``) one that is there.

    ``requirements``: what to install, as in pip (``"torch==2.1"``, ``"name @ https://…"``) or paths of local wheels.
    numpy is added where they do not name it: the worker needs it.

    ``constraints``, requirements that narrow what the resolver may choose, and ``overrides``, requirements that replace
    what packages ask for. ``exclude_newer``: nothing uploaded after that day or moment (RFC 3339; a day is one in UTC)
    counts.

    ``lock``: the path of a lock file, which is installed as it stands: ``pylock.toml`` (or ``pylock.<name>.toml``),
    ``uv.lock`` beside its ``pyproject.toml`` (without the project itself and its development groups), or a requirement
    file with hashes. It takes the place of the four above, and numpy must be in it.

    ``python``: ``"3.10"``, ``"3.10.13"``, a range (``">=3.9,<3.12"``) or the absolute path of an interpreter. None
    means the Python of this process, or with a lock one that suits it.

    ``download_python``: whether uv may fetch a Python that this machine lacks (python-build-standalone, into uv's own
    folder). None means what ``ISOPOD_PYTHON_DOWNLOADS`` says, and no where that is not set.

    ``index_url``, ``extra_index_urls``, ``find_links``, ``no_index``: as in pip, and on top of pip's own configuration
    and of uv's variables; versions of all indexes compete, as with pip.

    ``from_source``: names of packages to be built from source, as some old ones must be; ``allow_source``: any that has
    no wheel may be. Otherwise packages come as wheels only, for a build from source runs the package's code with the
    rights of the builder.

    ``installer``: ``"uv"`` or ``"pip"``, the program that resolves and installs. None means uv, and pip on a machine
    that has no uv. Both keep to all of the above, except that pip has no ``overrides``, and only a new one reads
    ``exclude_newer`` (pip 26.0) or a ``pylock.toml`` (pip 26.1).

    The rest is of run time, and no part of the built environment: values that differ only here share one on disk.

    ``variables``: environment variables of the worker; ``unset``: names of those of the application that it does not
    inherit.

    ``threads``: how many its libraries start, 4 or ``Threads(within=4, between=2)``; those that ``load`` is given win.
    A count in ``variables`` wins over both.

    ``devices``: the accelerators that it sees: None is all that the application sees, ``"cpu"`` or ``[]`` none, and
    ``["cuda:0", "cuda:2"]`` or UUIDs (``"GPU-…"``) just these, in this order. It sees them as 0, 1, … then. Numbers are
    those of ``nvidia-smi``, or, where ``CUDA_VISIBLE_DEVICES`` is set for the application, places in that list.

    ``warm``: modules imported once, when the environment is built or when they are first asked for, so that their
    bytecode is there at each start; not in a store that is only looked in. A process that workers are forked from
    imports them, too. This runs the packages' code with the rights of the builder: leave it empty for packages that
    nobody vouches for.

    ``location``: set by ``existing`` and ``current`` only.

    Raises ``SpecError``, naming the culprit, for a value that cannot be meant.

    >>> Env(["scikit-learn==1.2.2", "numpy<2"], python="3.11")
    Env(['scikit-learn==1.2.2', 'numpy<2'], python='3.11')
    """

    requirements: Sequence[str] = ()
    python: str | None = None
    constraints: Sequence[str] = ()
    overrides: Sequence[str] = ()
    exclude_newer: str | None = None
    lock: str | os.PathLike[str] | None = None
    index_url: str | None = None
    extra_index_urls: Sequence[str] = ()
    find_links: Sequence[str] = ()
    no_index: bool = False
    from_source: Sequence[str] = ()
    allow_source: bool = False
    installer: InstallerName | None = None
    download_python: bool | None = None
    variables: Mapping[str, str] = field(default_factory=Variables)
    unset: Sequence[str] = ()
    threads: int | Threads | None = None
    devices: str | Sequence[str] | None = None
    warm: Sequence[str] = ()
    location: str | None = None

    def __post_init__(self) -> None:
        for name in _LISTS:
            self._set(name, _texts(name, getattr(self, name)))
        for name in ("requirements", "constraints", "overrides"):
            self._set(name, tuple(rules.normalise(text) for text in getattr(self, name)))
        self._set("from_source", tuple(rules.package_name(text) for text in self.from_source))
        self._set("extra_index_urls", tuple(absolute(url) for url in self.extra_index_urls))
        self._set("find_links", tuple(absolute(url) for url in self.find_links))
        self._set("index_url", None if self.index_url is None else absolute(self.index_url))
        self._set("variables", _variables(self.variables))
        self._set("unset", _unset(self.unset, self.variables))
        self._set("threads", thread_counts(self.threads))
        self._set("devices", devices.parse(self.devices))
        devices.check(self.devices, self.variables, self.unset)
        for module in self.warm:
            if not _MODULE.fullmatch(module):
                raise SpecError(f"warm: {module!r} is not the name of a module")
        PythonRequest.parse(self.python)
        if self.exclude_newer is not None:
            instant(self.exclude_newer)
        self._check_installer()
        if self.lock is not None:
            self._set("lock", str(expand(os.fspath(self.lock))))
            self._check_lock()
        if self.location is not None:
            self._set("location", str(expand(self.location)))
            self._check_existing()

    @classmethod
    def existing(
        cls,
        path: str | os.PathLike[str],
        *,
        variables: Mapping[str, str] | None = None,
        unset: Sequence[str] = (),
        threads: int | Threads | None = None,
        devices: str | Sequence[str] | None = None,
        warm: Sequence[str] = (),
    ) -> Env:
        """Use what is there: a virtual environment, a conda or pixi prefix, or an interpreter. It is never modified.

        What Python may add is bytecode, as for anybody who runs it; none if ``sys.dont_write_bytecode`` is set here.
        Whether it is there is looked at by ``prepare``, not here. ``warm`` is for a process that workers are forked
        from; nothing is imported ahead of it.
        """
        return cls(
            location=os.fspath(path),
            variables=variables or {},
            unset=unset,
            threads=threads,
            devices=devices,
            warm=warm,
        )

    @classmethod
    def current(
        cls,
        *,
        variables: Mapping[str, str] | None = None,
        unset: Sequence[str] = (),
        threads: int | Threads | None = None,
        devices: str | Sequence[str] | None = None,
        warm: Sequence[str] = (),
    ) -> Env:
        """Use the interpreter and packages of this process, as in ``existing``.

        Raises ``SpecError`` if it does not know its own path.
        """
        if not sys.executable:
            raise SpecError("this process does not know its own interpreter (an embedded Python?); use Env.existing")
        return cls.existing(
            sys.executable, variables=variables, unset=unset, threads=threads, devices=devices, warm=warm
        )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Any) -> Env:
        """Take over a requirement file of pip's, with what it includes and its options of where packages come from.

        ``options`` are other fields: lists are added to the file's, anything else replaces it. The file is read now,
        and paths in it are those of its own folder. Raises ``SpecError`` that names file, line and remedy for what
        cannot be taken over (``-e``, a folder), and for a file with hashes, which is a ``lock``. ::

            env = isopod.Env.from_file("requirements.txt", python="3.11")
        """
        return cls(**_joined(reqfiles.read(path), options))

    @classmethod
    def script(cls, path: str | os.PathLike[str], **options: Any) -> Env:
        """Take what a Python file says of itself: its ``# /// script`` block (PEP 723). The file is not run.

        ``dependencies``, ``requires-python``, and of ``[tool.uv]`` the indexes, ``find-links``, ``exclude-newer``,
        constraints and overrides; and ``[tool.isopod]``, the part of run time, as in ``from_toml``. ``options`` as in
        ``from_file``. Raises ``SpecError`` that names file and line. ::

            env = isopod.Env.script("model.py", variables={"OMP_NUM_THREADS": "1"})
        """
        file = expand(os.fspath(path))
        found = script.read(file)
        if found is None:
            raise SpecError(f"{file} has no '# /// script' block that says what it needs; write one, or give env=")
        return cls(**_joined(found, options))

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str] = projects.FILE, name: str | None = None, **options: Any) -> Env:
        """Take an environment of a TOML file: ``[environments.NAME]``, or without a name the only one that it has.

        The keys are the fields' names with hyphens (``find-links``), and ``existing`` for the path of one that is
        there; relative paths are those of the file's folder. ``options`` as in ``from_file``. Raises ``SpecError`` that
        names file, line, and the nearest key that there is. ::

            env = isopod.Env.from_toml("deploy/isopod.toml", "old")
        """
        return cls(**_joined(projects.read(path, name), options))

    @classmethod
    def project(cls, name: str | None = None, **options: Any) -> Env:
        """Take an environment of the project that this process works in: ``from_toml`` of its ``isopod.toml``.

        That is looked for in the working directory and the folders above it, as tools look for ``pyproject.toml``. ::

            model = isopod.load("digits.py:Digits", env=isopod.Env.project("old"))
        """
        return cls.from_toml(projects.find(), name, **options)

    def to_toml(self, name: str | None = None) -> str:
        """The text that ``from_toml`` reads as an equal value: ``[environments.NAME]``, or ``[environment]``.

        Paths in it are absolute, and the values of ``variables`` are in it. Raises ``SpecError`` for a URL with a
        password, which is not for a file. ::

            Path("isopod.toml").write_text(env.to_toml("old"), encoding="utf-8")
        """
        said = {item.name: getattr(self, item.name) for item in fields(self)}
        return projects.write({key: value for key, value in said.items() if not _is_default(key, value)}, name)

    def __repr__(self) -> str:
        shown = []
        for item in fields(self):
            value = getattr(self, item.name)
            if _is_default(item.name, value) or item.name == "location":
                continue
            if item.name == "variables":
                # the names only, for a value may be a token; "..." is no value that Env would take
                text = "{" + ", ".join(f"{name!r}: ..." for name in value) + "}"
            elif item.name == "threads":
                text = repr(value.within if value.between == 1 else value)
            else:
                text = redact(repr(list(value) if isinstance(value, tuple) else value))
            shown.append(text if item.name == "requirements" else f"{item.name}={text}")
        if self.location is not None:
            return f"Env.existing({', '.join([repr(self.location), *shown])})"
        return f"Env({', '.join(shown)})"

    def _check_installer(self) -> None:
        if self.installer is not None and self.installer not in get_args(InstallerName):
            raise SpecError(f"installer={self.installer!r}: give one of {', '.join(get_args(InstallerName))}")
        if self.installer == "pip" and self.overrides:
            raise SpecError("pip has no overrides: leave them out, or let uv build this environment (installer='uv')")

    def _check_lock(self) -> None:
        for name in ("requirements", "constraints", "overrides", "exclude_newer"):
            if getattr(self, name):
                raise SpecError(
                    f"a lock says all that is installed, so {name} cannot be given with it: "
                    "put it into what is locked, and lock again"
                )
        assert self.lock is not None
        lock.read(self.lock)

    def _check_existing(self) -> None:
        for item in fields(self):
            if item.name not in ("location", *RUN_TIME) and not _is_default(item.name, getattr(self, item.name)):
                raise SpecError(f"an existing environment is used as it is: {item.name} cannot be given with it")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the one way to normalise a field of a frozen dataclass


def _texts(name: str, values: Sequence[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise SpecError(f"{name}={values!r}: give a list of strings, not one string")
    texts = tuple(values)
    for text in texts:
        if not isinstance(text, str):
            raise SpecError(f"{name}: {text!r} is not a string")
    return texts


def _variables(values: Mapping[str, str]) -> Variables:
    for name, value in values.items():
        if not all(isinstance(text, str) for text in (name, value)):
            raise SpecError(f"variables: {name!r}: {value!r} must both be strings")
        if not _is_variable(name) or "\0" in value:
            raise SpecError(f"variables: {name!r} cannot be an environment variable")
    return Variables(values)


def _unset(names: Sequence[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    for name in names:
        if not _is_variable(name):
            raise SpecError(f"unset: {name!r} cannot be an environment variable")
        if name in variables:
            raise SpecError(f"{name!r} is both in variables and in unset: say one of the two")
    return tuple(sorted(set(names)))


def _is_variable(name: str) -> bool:
    return bool(name) and "=" not in name and "\0" not in name


def _is_default(name: str, value: object) -> bool:
    """Nothing was said: of devices, an empty list says something."""
    return value is None if name == "devices" else not value


def _joined(found: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says, and the caller on top of it."""
    joined = {**found, **options}
    for name in found.keys() & options.keys() & set(_LISTS):
        joined[name] = (*found[name], *_texts(name, options[name]))
    return joined
