"""Ranges of versions as npm writes them (``^1.12``, ``1.x || >=2.5 <3``), which is how a package says what it runs on.

https://docs.npmjs.com/cli/using-npm/semver#ranges. What an environment is built from are Python's own specifiers, which
know no "or": so a range becomes one set of them for each of its alternatives.
"""

from __future__ import annotations

import re

from packaging.specifiers import SpecifierSet
from semantic_version import NpmSpec
from semantic_version.base import AllOf, AnyOf, Range

from isopod.ipc.errors import SpecError

_SPACED = re.compile(r"(<=|>=|[<>=^~])\s+")  # npm takes "> 1.2" for ">1.2"


def alternatives(text: str) -> tuple[SpecifierSet, ...]:
    """The range as sets of specifiers, of which one must hold; in the order of their lower ends, newest first.

    Raises ``SpecError`` for text that is no range.

    >>> [str(one) for one in alternatives("^1.12 || 2.1.x")]
    ['<2.2,>=2.1', '<2,>=1.12']
    """
    if not isinstance(text, str):
        raise SpecError(f"{text!r} is not a range of versions")
    try:
        clause = NpmSpec(_SPACED.sub(r"\1", text.strip())).clause
    except ValueError as error:
        raise SpecError(f"{text!r} is not a range of versions, as '1.15.0', '^1.12' or '>=1.4 <2': {error}") from None
    parts = clause.clauses if isinstance(clause, AnyOf) else (clause,)
    return tuple(SpecifierSet(",".join(specifiers)) for _, specifiers in sorted(map(_alternative, parts), reverse=True))


def _alternative(clause: AllOf | Range) -> tuple[tuple[int, int, int], list[str]]:
    """(its lower end, its specifiers)"""
    ranges = list(clause.clauses) if isinstance(clause, AllOf) else [clause]
    low = (0, 0, 0)
    specifiers = []
    for one in ranges:
        release = (one.target.major, one.target.minor, one.target.patch)
        if one.operator in (">=", ">", "=="):
            low = max(low, release)
        if (one.operator, release) != (">=", (0, 0, 0)):
            specifiers.append(f"{one.operator}{_short(str(one.target), one.operator)}")
    return low, sorted(set(specifiers))


def _short(version: str, operator: str) -> str:
    """``2.0.0`` as people write a bound: ``2``; of "==" all three, for to Python 1.15 is 1.15.0."""
    if operator == "==" or "-" in version:
        return version
    return re.sub(r"(\.0)+$", "", version)


def bounds(text: str) -> dict[str, object]:
    """The range as a worker holds its framework against it (``opeworker.versions``); empty for any version."""
    found = alternatives(text)
    if not all(str(one) for one in found):
        return {}
    return {"text": text, "any_of": [[[part.operator, part.version] for part in one] for one in found]}


def satisfies(version: str, text: str) -> bool:
    """Whether a version is in a range. Raises ``SpecError`` for a range that is none."""
    return any(one.contains(version, prereleases=True) for one in alternatives(text))
