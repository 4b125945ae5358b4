"""An environment as a TOML table: ``[environments.NAME]`` of an ``isopod.toml``, ``[environment]`` of a pod.

Its keys are the names of ``Env``'s fields as TOML is written, with hyphens (``find-links``), and ``existing``, the path
of an environment that is there. ::

    [environments.old]
    requirements = ["scikit-learn==1.2.2", "numpy<2"]
    python = "3.11"
    exclude-newer = 2024-02-29
    threads = 2
    variables = {TF_CPP_MIN_LOG_LEVEL = "3"}

    [environments.theirs]
    existing = "/opt/conda/envs/theirs"
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from isopod.ipc.errors import SpecError

from .fields import KINDS, Fields, Text
from .threads import Threads
from .urls import redact

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_EXISTING = "existing"


def read(text: Text, table: object, what: str, fields: Collection[str] = KINDS.keys()) -> dict[str, Any]:
    """Return what a table asks for, by the names of ``Env``'s fields. ``what`` is the table's name in errors.

    Raises ``SpecError`` that names file, line and, for a key that is none of ``fields``, the nearest that is.
    """
    if not isinstance(table, dict):
        raise text.error(what.rpartition(".")[2], f"{what} is not a table")
    taken = Fields(text)
    known = {_key(field): field for field in fields}
    for key, value in table.items():
        if key not in known:
            raise text.error(key, f"{what} has no {key!r}{nearest(key, known)}")
        taken.take(known[key], key, value)
    return taken.found


def write(values: Mapping[str, Any], header: str) -> str:
    """The table that ``read`` makes ``values`` of. Raises ``SpecError`` for what a file must not, or cannot, hold."""
    lines = [f"[{header}]"]
    for field, value in values.items():
        text = _value(value)
        if field != "variables" and redact(text) != text:
            raise SpecError(
                f"{field}: {redact(text)} has a password in it, which is not for a file: "
                "leave it to pip's configuration, uv's variables or ~/.netrc"
            )
        lines.append(f"{_key(field)} = {text}")
    text = "\n".join(lines) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SpecError(f"{text[error.start : error.end]!r} cannot stand in a file of UTF-8, as TOML is") from error
    return text


def quoted(name: str) -> str:
    """A key of TOML, in quotes where it needs them."""
    return name if _BARE.fullmatch(name) else _string(name)


def nearest(word: str, known: Iterable[str]) -> str:
    """Words for the end of an error: what may have been meant, or else all that there is."""
    names = sorted(known)
    close = difflib.get_close_matches(word.replace("_", "-"), names, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(names)}"


def _key(field: str) -> str:
    return _EXISTING if field == "location" else field.replace("_", "-")


def _value(value: object) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Threads):
        return str(value.within) if value.between == 1 else f"{{within = {value.within}, between = {value.between}}}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(key)} = {_string(text)}" for key, text in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_string, value)) + "]"
    return str(value).lower()  # a flag


def _string(text: str) -> str:
    """A basic string: escaped as in JSON, and DEL, too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
