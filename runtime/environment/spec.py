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

from isopod.ipc.errors import SpecError

from . import requirements as rules
from .urls import absolute, expand, redact
from .versions import PythonRequest

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

    ``python``: ``"3.10"``, ``"3.10.13"``, a range (``">=3.9,<3.12"``) or the absolute path of an interpreter. None
    means the Python of this process. Nothing is ever downloaded for it.

    ``index_url``, ``extra_index_urls``, ``find_links``, ``no_index``: as in pip, and on top of pip's own configuration
    and of uv's variables; versions of all indexes compete, as with pip.

    ``from_source``: names of packages to be built from source, as some old ones must be. Others come as wheels only,
    for a build from source runs the package's code with the rights of the builder.

    ``variables``: environment variables of the worker when it runs. They are not part of the built environment: two
    values that differ only here share one on disk.

    ``warm``: modules imported once when the environment is built, so that their bytecode is there at each start. This
    runs the packages' code with the rights of the builder: leave it empty for packages that nobody vouches for.

    ``location``: set by ``existing`` and ``current`` only.

    Raises ``SpecError``, naming the culprit, for a value that cannot be meant.

    >>> Env(["scikit-learn==1.2.2", "numpy<2"], python="3.11")
    Env(scikit-learn==1.2.2, numpy<2, python='3.11')
    """

    requirements: Sequence[str] = ()
    python: str | None = None
    index_url: str | None = None
    extra_index_urls: Sequence[str] = ()
    find_links: Sequence[str] = ()
    no_index: bool = False
    from_source: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=Variables)
    warm: Sequence[str] = ()
    location: str | None = None

    def __post_init__(self) -> None:
        for name in ("requirements", "extra_index_urls", "find_links", "from_source", "warm"):
            self._set(name, _texts(name, getattr(self, name)))
        self._set("requirements", tuple(rules.normalise(text) for text in self.requirements))
        self._set("from_source", tuple(rules.package_name(text) for text in self.from_source))
        self._set("extra_index_urls", tuple(absolute(url) for url in self.extra_index_urls))
        self._set("find_links", tuple(absolute(url) for url in self.find_links))
        self._set("index_url", None if self.index_url is None else absolute(self.index_url))
        self._set("variables", _variables(self.variables))
        for module in self.warm:
            if not _MODULE.fullmatch(module):
                raise SpecError(f"warm: {module!r} is not the name of a module")
        PythonRequest.parse(self.python)
        if self.location is not None:
            self._set("location", str(expand(self.location)))
            self._check_existing()

    @classmethod
    def existing(cls, path: str | os.PathLike[str], *, variables: Mapping[str, str] | None = None) -> Env:
        """Use what is there: a virtual environment, an environment's prefix, or an interpreter. It is never modified.

        Whether it is there is looked at by ``prepare``, not here.
        """
        return cls(location=os.fspath(path), variables=variables or {})

    @classmethod
    def current(cls, *, variables: Mapping[str, str] | None = None) -> Env:
        """Use the interpreter and packages of this process. Raises ``SpecError`` if it does not know its own path."""
        if not sys.executable:
            raise SpecError("this process does not know its own interpreter (an embedded Python?); use Env.existing")
        return cls(location=sys.executable, variables=variables or {})

    def __repr__(self) -> str:
        if self.location is not None:
            shown = [f"existing={self.location!r}"]
        else:
            shown = [redact(requirement) for requirement in self.requirements]
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default and value and item.name not in ("requirements", "location", "variables"):
                shown.append(f"{item.name}={redact(repr(value))}")
        if self.variables:
            # the names only: a value may be a token
            shown.append(f"variables={list(self.variables)}")
        return f"Env({', '.join(shown)})"

    def _check_existing(self) -> None:
        for item in fields(self):
            if item.name not in ("location", "variables") and getattr(self, item.name):
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
        if not name or "=" in name or "\0" in name + value:
            raise SpecError(f"variables: {name!r} cannot be an environment variable")
    return Variables(values)
