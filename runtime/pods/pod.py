"""A pod that is open: what it says, where its files lie, and what a worker is to load of it."""

from __future__ import annotations

import contextlib
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from isopod.ipc.errors import SpecError
from isopod.runtime.environment import Env, Hold, Prepared
from isopod.runtime.target import Target

from . import cache, config, frameworks, layout, manifest, semver
from .archive import DAMAGE, Archive
from .config import Config
from .contents import Contents, Folder
from .documents import parse_json

_CONFIG_LIMIT = 16 << 20  # bytes


@dataclass(frozen=True)
class Pod:
    """``place`` is what the caller named, ``folder`` where the files lie: the same, or in the cache and held.

    ``digest`` is one sha256 for the contents. ``verified``: it has a manifest, and all is as that says.
    """

    place: Path
    folder: Path
    config: Config
    digest: str
    verified: bool
    hold: Hold | None = None

    @property
    def target(self) -> Target:
        """What a worker loads."""
        says = self.config
        if says.platform == layout.PYTHON:
            backend, path = "neuropod_python", self.folder
            options = {**says.own, "code": str(self.folder / layout.CODE), "data": str(self.folder / layout.DATA)}
        elif says.platform == layout.TORCH:
            backend, path, options = "torchscript", self._file(layout.TORCHSCRIPT), {}
        elif says.platform == layout.TENSORFLOW:
            backend, path = "tensorflow", self._file(layout.FROZEN_GRAPH, layout.SAVED_MODEL)
            options = {} if path.is_dir() else dict(says.own)  # a SavedModel's names are those of its signature
        else:
            backend, path = says.platform, self.folder / layout.DATA / says.own["model"]
            options = dict(says.own["options"])
            if "imports" in options:
                options["imports"] = [str(self.folder / layout.CODE / name) for name in options["imports"]]
        return Target(
            backend=backend,
            path=path,
            ops=tuple(self.folder / layout.OPS / name for name in says.ops),
            options=options,
            inputs=says.inputs,
            outputs=says.outputs,
            on_cpu=tuple(name for name, device in says.devices.items() if device == "CPU"),
            versions={} if says.platform == layout.PYTHON else semver.bounds(says.versions),
        )

    def check_python(self, prepared: Prepared) -> None:
        """A Python package's versions are its interpreter's, and that is known before a worker runs; a framework's are
        checked there (``Target.versions``). Raises ``SpecError``.
        """
        found = ".".join(map(str, prepared.version))
        if self.config.platform == layout.PYTHON and not semver.satisfies(found, self.config.versions):
            raise SpecError(
                f"the package is for Python {self.config.versions}, and {prepared.prefix} has {found}: give an "
                "environment with a Python of that range, or pack the model anew with a wider range"
            )

    @property
    def env(self) -> Env:
        """Where it runs unless the caller says otherwise: what ``isopod.toml`` says; else what the package requires;
        else its platform's newest version in the range that it names. Raises ``SpecError``."""
        said = self.config.section.env(self.folder)
        if said is not None:
            return said
        requirements = self.folder / layout.REQUIREMENTS
        if self.config.platform == layout.PYTHON and requirements.is_file():
            return Env.from_file(requirements, python=frameworks.python_request(self.config.versions))
        skops = str(self.config.own.get("model", "")).endswith(".skops")
        return frameworks.environment(self.config.platform, self.config.versions, ("skops",) if skops else ())

    def release(self) -> None:
        """Nobody uses its files any more. Twice is once."""
        if self.hold is not None:
            self.hold.release()

    def _file(self, *names: str) -> Path:
        for name in names:
            if (self.folder / name).exists():
                return self.folder / name
        raise SpecError(f"{self.place} has no {' and no '.join(names)}: there is no model in it")


def at(given: str | os.PathLike[str]) -> Path | None:
    """The path of a pod, where that is what was given; None for anything else that can be loaded.

    By name (``.zip``, ``.pod``), or a folder or zip whose ``config.json`` names a platform. Raises ``SpecError`` for a
    name of a pod that is not there.
    """
    text = os.fspath(given)
    place = Path(text).expanduser().absolute()
    if place.suffix in layout.SUFFIXES:
        if not place.exists():
            raise SpecError(f"there is no pod {place}")
        return place
    return place if place.exists() and _names_a_platform(place) else None


def contents_of(place: Path) -> Contents:
    """The files of a pod, to be read where they lie. Whoever opens them closes them. Raises ``SpecError``."""
    if not place.exists():
        raise SpecError(f"there is no pod {place}")
    return Folder(place) if place.is_dir() else Archive(place)


def peek(place: Path) -> Config:
    """What a pod says, without unpacking or verifying it. Raises ``SpecError``."""
    with contextlib.closing(contents_of(place)) as contents:
        return config.read(contents)


def open_pod(place: Path) -> Pod:
    """Open a pod to run it: verified, and a zip unpacked. A folder is used where it lies.

    Raises ``SpecError`` where it is not as it was packed, ``EnvironmentBuildError`` where it cannot be unpacked.
    """
    if not place.exists():
        raise SpecError(f"there is no pod {place}")
    if not place.is_dir():
        unpacked = cache.had(place)
        says = config.read(Folder(unpacked.folder))
        return Pod(place, unpacked.folder, says, unpacked.digest, unpacked.verified, unpacked.hold)
    contents = Folder(place)
    says = config.read(contents)
    listed, digests = manifest.read(contents), manifest.digests_of(contents)
    manifest.check(place, listed, digests)
    return Pod(place, place, says, manifest.digest_of(digests), listed is not None)


def _names_a_platform(place: Path) -> bool:
    """Whether it is a pod, whole or not; what is wrong with it is told when it is opened."""
    try:
        if place.is_dir():
            with (place / layout.CONFIG).open("rb") as stream:
                data = stream.read(_CONFIG_LIMIT)
        elif zipfile.is_zipfile(place):
            with zipfile.ZipFile(place) as archive, archive.open(layout.CONFIG) as entry:
                data = entry.read(_CONFIG_LIMIT)
        else:
            return False
        found = parse_json(data.decode("utf-8"), layout.CONFIG)
    except (*DAMAGE, KeyError, SpecError):  # it is something else: a framework's own file, perhaps
        return False
    return isinstance(found, dict) and "platform" in found and "input_spec" in found
