"""Which modules of a published environment have been imported to leave their bytecode: ``warm.json`` beside its facts.

Two specs that differ only in what is to be warm share one folder, so that is no part of its ``meta.json``, which never
changes. A module that nobody has asked for yet is imported when somebody does, under the key's lock. Bytecode is no
change of an environment: each worker adds some as it runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

_FILE = "warm.json"


def recorded(folder: Path) -> frozenset[str]:
    """The modules that were imported. None of them where the record cannot be read: importing twice harms nobody."""
    try:
        found = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return frozenset()
    return frozenset(item for item in found if isinstance(item, str)) if isinstance(found, list) else frozenset()


def record(folder: Path, modules: Iterable[str]) -> None:
    """Add modules to the record, in one step. Needs the key's lock. Raises ``OSError``."""
    known = recorded(folder)
    if known >= set(modules):
        return
    whole = folder / f".{_FILE}.new"  # one name: with the lock there is one writer, and a killed one leaves no more
    whole.write_text(json.dumps(sorted(known | set(modules))) + "\n", encoding="utf-8")
    os.replace(whole, folder / _FILE)
