"""``manifest.json``: the sha256 of every other file of a pod, written when it is packed.

The files are held against it when they are read, which finds what was damaged, cut off or forgotten on the way. It is
no signature: who can change a file can change it, too.
The *digest* of a pod is one number for all of its files, the same whether it is a folder or a zip.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from isopod.ipc.errors import SpecError
from isopod.runtime.environment.requirements import sha256_of

from . import layout
from .contents import Contents, Folder, chunks, read_text
from .documents import parse_json

_VERSION = 1
_SHOWN = 5


def read(contents: Contents) -> dict[str, str] | None:
    """What the manifest says, by path; None where there is none, as in the oldest packages. Raises ``SpecError``."""
    if layout.MANIFEST not in contents.sizes:
        return None
    place = contents.place
    document = parse_json(read_text(contents, layout.MANIFEST), f"{place}: {layout.MANIFEST}")
    if not isinstance(document, dict) or document.get("manifest_version") != _VERSION:
        raise SpecError(f"{place}: {layout.MANIFEST} is not of version {_VERSION}, the only one that is known")
    files = document.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise SpecError(f"{place}: {layout.MANIFEST} does not list files with their sha256")
    return files


def digests_of(contents: Contents) -> dict[str, str]:
    """The sha256 of each file. Those of a folder are remembered for as long as a file stays as it is."""
    if isinstance(contents, Folder):
        return {name: sha256_of(contents.place / name) for name in contents.sizes}
    found = {}
    for name in contents.sizes:
        digest = hashlib.sha256()
        for chunk in chunks(contents, name):
            digest.update(chunk)
        found[name] = digest.hexdigest()
    return found


def check(place: Path, listed: Mapping[str, str] | None, found: Mapping[str, str]) -> None:
    """Hold the files that were found against the manifest. Raises ``SpecError`` that names those that differ."""
    if listed is None:
        return
    there = {name: digest for name, digest in found.items() if name != layout.MANIFEST}
    wrong = {
        "not what the manifest says": [name for name in there if name in listed and listed[name] != there[name]],
        "missing": sorted(listed.keys() - there.keys()),
        "not in the manifest": sorted(there.keys() - listed.keys()),
    }
    problems = [f"{_some(names)} {'is' if len(names) == 1 else 'are'} {what}" for what, names in wrong.items() if names]
    if problems:
        raise SpecError(f"{place} is not as it was packed: {'; '.join(problems)}. Copy it again, or pack it anew")


def write(folder: Path) -> None:
    """Write the manifest of a folder that is complete."""
    files = digests_of(Folder(folder))
    files.pop(layout.MANIFEST, None)
    text = json.dumps({"files": files, "manifest_version": _VERSION}, indent=4, sort_keys=True)
    (folder / layout.MANIFEST).write_text(f"{text}\n", encoding="utf-8")


def digest_of(digests: Mapping[str, str]) -> str:
    """One sha256 for all files: of the lines that ``sha256sum`` would write for them, without the manifest's own."""
    whole = hashlib.sha256()
    for name in sorted(digests.keys() - {layout.MANIFEST}):
        whole.update(f"{digests[name]}  {name}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
