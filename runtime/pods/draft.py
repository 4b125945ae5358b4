"""A pod that is being made: a folder beside its place, which takes that place when all is well, or is gone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec

from . import archive, layout, manifest, semver, specs

_IGNORED = shutil.ignore_patterns("*.pyc", "__pycache__", ".git")


class Draft:
    """``folder`` holds the files so far. Made by ``drafted``."""

    def __init__(self, place: Path, folder: Path) -> None:
        self.place = place
        self.folder = folder

    def describe(
        self,
        name: str,
        platform: str,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        versions: str = "*",
        ops: Sequence[str | os.PathLike[str]] = (),
        devices: Mapping[str, str] | None = None,
    ) -> None:
        """Write ``config.json`` and copy the custom ops. Raises ``SpecError``."""
        semver.alternatives(versions)
        libraries = [Path(library) for library in ops]
        for library in libraries:
            self.copy(library, f"{layout.OPS}/{library.name}")
        document = {
            "name": name,
            "platform": platform,
            "platform_version_semver": versions,
            "input_spec": specs.write(inputs),
            "output_spec": specs.write(outputs),
            "custom_ops": [library.name for library in libraries],
            "input_tensor_device": {spec.name: (devices or {}).get(spec.name, "GPU") for spec in inputs},
        }
        self.write_json(layout.CONFIG, document)

    def copy(self, source: str | os.PathLike[str], name: str) -> None:
        """Copy a file, or a folder with all that is in it but bytecode. Raises ``SpecError``."""
        origin, target = Path(source), self.folder / name
        if target.is_file():
            raise SpecError(f"{name} would be in the pod twice; give {origin} another name")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if origin.is_dir():
                if self.place.absolute().is_relative_to(origin.absolute()):
                    raise SpecError(f"{self.place} lies in {origin}, which goes into it; give it another place")
                shutil.copytree(origin, target, ignore=_IGNORED, dirs_exist_ok=True)
            else:
                shutil.copyfile(origin, target)
        except FileNotFoundError as error:
            raise SpecError(f"there is no file {origin} to pack") from error
        except (OSError, shutil.Error) as error:
            raise SpecError(f"{origin} cannot be packed: {error}") from error

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text, encoding="utf-8")

    def write_json(self, name: str, document: Any) -> None:
        try:
            self.write(name, json.dumps(document, indent=4, sort_keys=True, allow_nan=False) + "\n")
        except (TypeError, ValueError) as error:
            raise SpecError(f"{name} cannot be written: {error}") from None

    def seal(self) -> None:
        """All of it is there: list it."""
        manifest.write(self.folder)

    def publish(self, *, as_zip: bool, compression: int = zipfile.ZIP_DEFLATED) -> None:
        """Give it its place, in one step. Raises ``SpecError`` where something came to be there."""
        for cache in list(self.folder.rglob("__pycache__")):  # of a trial
            shutil.rmtree(cache)
        try:
            if as_zip:
                packed = self.folder.with_name("packed")
                archive.write(self.folder, packed, compression)
                packed.chmod(0o666 & ~_umask())
                os.link(packed, self.place)  # not a rename, which would take the place of what is there
            else:
                _refuse_existing(self.place)
                self.folder.chmod(0o777 & ~_umask())
                os.rename(self.folder, self.place)
        except OSError as error:
            raise SpecError(f"{self.place} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def drafted(place: Path) -> Iterator[Draft]:
    """A draft for a place where nothing is yet. Raises ``SpecError`` where something is."""
    _refuse_existing(place)
    try:
        beside = Path(tempfile.mkdtemp(prefix=f".{place.name}.packing-", dir=place.parent))
    except OSError as error:
        raise SpecError(f"{place} cannot be written: {error.strerror}") from error
    try:
        folder = beside / "pod"
        folder.mkdir()
        yield Draft(place, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _refuse_existing(place: Path) -> None:
    if os.path.lexists(place):
        raise SpecError(f"{place} exists already; remove it, or give another place")


def _umask() -> int:
    """The process's, which can only be read by setting it: so from the kernel's own list."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next((int(line.split()[1], 8) for line in status if line.startswith("Umask:")), 0o022)
