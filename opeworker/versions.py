"""Whether a framework is in the range of versions that a package names for its model.

Which version it is, only the worker knows for certain: it asks the framework that it has imported. The parent, which
can read ranges as npm writes them, sends each as alternatives of plain bounds. A pre-release counts as the release that
it comes before.
"""

from __future__ import annotations

import operator
import re
from typing import Any, Dict, Sequence, Tuple

from isopod.ipc.errors import SpecError

_HOLDS = {
    "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">=": operator.ge, ">": operator.gt,
}  # fmt: skip
_RELEASE = re.compile(r"\d+(?:\.\d+)*")


def check(package: str, version: str, wanted: Dict[str, Any]) -> None:
    """``wanted`` has ``text``, the range, and ``any_of``, lists of (operator, version) of which one must hold.

    Empty: any version. Raises ``SpecError`` that names both, and what to do.
    """
    if not wanted or any(_within(version, bounds) for bounds in wanted["any_of"]):
        return
    raise SpecError(
        f"the package is for {package} {wanted['text']}, and its environment has {version}: give one with a version of "
        f"that range (env=isopod.Env(['{package}==…'])), or pack the model anew with a wider range"
    )


def _within(version: str, bounds: Sequence[Sequence[str]]) -> bool:
    here = _release(version)
    return all(_HOLDS[how](here, _release(bound)) for how, bound in bounds)


def _release(version: str) -> Tuple[int, ...]:
    found = _RELEASE.match(version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    return tuple([*numbers, 0, 0, 0, 0][:4])
