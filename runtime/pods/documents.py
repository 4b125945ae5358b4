"""JSON as it stands in a pod: finite numbers, names that come once, and an error that says where it is wrong."""

from __future__ import annotations

import json
from typing import Any

from isopod.ipc.errors import SpecError


def parse_json(text: str, what: str) -> Any:
    """Raises ``SpecError``, with ``what`` it is, for what is not JSON, has a name twice or is nested too deeply."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise SpecError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise SpecError(f"{what} is not JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is in it twice")
    return found


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number that JSON has")
