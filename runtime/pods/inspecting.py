"""What is in a pod, as data: read where it lies, without unpacking it and without running anything of it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError

from . import config, examples, layout, manifest, specs
from .config import Config
from .contents import Contents
from .pod import contents_of


@dataclass(frozen=True)
class Inspection:
    """``verified`` is None where there is no manifest, or nobody wanted to know. Sizes in bytes.

    ``problem`` says what is not as it was packed. ``digest`` is "" where the files were not read.
    """

    place: Path
    config: Config
    packed: bool
    size: int
    sizes: dict[str, int]
    digest: str
    verified: bool | None
    problem: str
    examples: tuple[dict[str, Any], ...]
    pickled: bool

    def facts(self) -> dict[str, Any]:
        """All of it, for a program to read."""
        says = self.config
        return {
            "name": says.name,
            "path": str(self.place),
            "kind": "zip" if self.packed else "folder",
            "platform": says.platform,
            "versions": says.versions,
            "inputs": [{**specs.neuropod_form(spec), "device": says.devices[spec.name]} for spec in says.inputs],
            "outputs": specs.write(says.outputs),
            "ops": list(says.ops),
            "platform_config": dict(says.own),
            "environment": self.environment,
            "limits": dict(says.section.limits),
            "sandbox": dict(says.section.sandbox),
            "problem": dict(says.section.problem),
            "metadata": dict(says.section.metadata),
            "examples": list(self.examples),
            "pickled_test_data": self.pickled,
            "bytes": self.size,
            "bytes_unpacked": sum(self.sizes.values()),
            "files": dict(self.sizes),
            "digest": self.digest,
            "verified": self.verified,
            "fault": self.problem,
        }

    @property
    def environment(self) -> dict[str, Any]:
        """What it says of where it runs, and ``from``: which of its files says so."""
        says = self.config
        if says.section.environment:
            return {"from": layout.SECTION, **says.section.environment}
        if says.platform == layout.PYTHON and layout.REQUIREMENTS in self.sizes:
            return {"from": layout.REQUIREMENTS, "python": says.versions}
        return {"from": layout.CONFIG, "python" if says.platform == layout.PYTHON else says.platform: says.versions}


def inspect(place: str | os.PathLike[str], *, verify: bool = True) -> Inspection:
    """Look at a pod. ``verify`` reads every file for its sha256, which takes a second for each gigabyte.

    Raises ``SpecError`` for what is no pod. One whose files are not as the manifest says is inspected all the same.
    """
    path = Path(place).expanduser().absolute()
    with contextlib.closing(contents_of(path)) as contents:
        says = config.read(contents)
        digest, verified, problem = _verified(contents) if verify else ("", None, "")
        return Inspection(
            place=path,
            config=says,
            packed=not path.is_dir(),
            size=path.stat().st_size if path.is_file() else sum(contents.sizes.values()),
            sizes=dict(contents.sizes),
            digest=digest,
            verified=verified,
            problem=problem,
            examples=tuple(examples.about(contents, name) for name in examples.names(contents)),
            pickled=layout.PICKLE in contents.sizes,
        )


def _verified(contents: Contents) -> tuple[str, bool | None, str]:
    try:
        listed = manifest.read(contents)
        digests = manifest.digests_of(contents)
        digest = manifest.digest_of(digests)
    except SpecError as error:
        return "", False, str(error)
    try:
        manifest.check(contents.place, listed, digests)
    except SpecError as error:
        return digest, False, str(error)
    return digest, None if listed is None else True, ""
