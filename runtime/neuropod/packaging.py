"""What every packager of Neuropod has in common: names, specs, ops, devices, and the trial of what was packaged."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.runtime.environment import Env
from isopod.runtime.pods import layout, semver, specs
from isopod.runtime.pods.draft import Draft, drafted
from isopod.runtime.pods.examples import Example
from isopod.runtime.pods.packing import finish

from .errors import raised_as_theirs
from .loader import as_theirs

_DEVICES = ("CPU", "GPU")
_FRAMEWORKS = {layout.TENSORFLOW: "tensorflow", layout.TORCH: "torch"}


def packaged(
    platform: str,
    fill: Callable[[Draft], None],
    *,
    neuropod_path: str | os.PathLike[str],
    model_name: str,
    input_spec: Sequence[Mapping[str, Any]],
    output_spec: Sequence[Mapping[str, Any]],
    platform_version_semver: str = "*",
    input_tensor_device: Mapping[str, str] | None = None,
    default_input_tensor_device: str = "GPU",
    custom_ops: Sequence[str | os.PathLike[str]] = (),
    package_as_zip: bool = True,
    zip_compression: bool | int = True,
    test_input_data: Mapping[str, Any] | None = None,
    test_expected_out: Mapping[str, Any] | None = None,
    persist_test_data: bool = True,
    env: Env | str | os.PathLike[str] | None = None,
) -> None:
    """Make a package whose platform's part ``fill`` writes.

    ``neuropod_path`` must not exist. ``input_spec`` and ``output_spec`` are lists of ``{"name", "dtype", "shape"}``;
    ``platform_version_semver`` is a range as npm writes it. ``input_tensor_device`` and its default say CPU or GPU;
    ``custom_ops`` are paths of libraries. ``zip_compression`` false only stores.

    With ``test_input_data`` the package is loaded and called, in a worker of its own, before it has its name; text that
    it gives must be as in ``test_expected_out``, and numbers close. ``persist_test_data`` keeps both in the package:
    as an example of ours, not as a pickle. ``env`` is where it is tried: by default the caller's environment, if that
    has the framework in a version of the range, else the package's own.

    Raises an error that is both ``ValueError`` and ``RuntimeError`` for what cannot be packaged, and for a trial that
    fails; then nothing is left behind.
    """
    place = Path(neuropod_path).expanduser().absolute()
    if test_expected_out is not None and test_input_data is None:
        raise SpecError("test_expected_out is what test_input_data gives: give that, too")
    inputs, outputs = specs.given(input_spec, "input_spec"), specs.given(output_spec, "output_spec")
    devices = {spec.name: default_input_tensor_device for spec in inputs} | dict(input_tensor_device or {})
    for name, device in devices.items():
        if name not in {spec.name for spec in inputs} or device not in _DEVICES:
            raise SpecError(f"input_tensor_device: {name!r} is {device!r}; it says CPU or GPU for inputs")
    with drafted(place) as draft:
        draft.describe(
            model_name, platform, inputs, outputs, versions=platform_version_semver, ops=custom_ops, devices=devices
        )
        fill(draft)
        shown = {}
        if test_input_data is not None:
            expected = None if test_expected_out is None else _arrays(test_expected_out)
            shown["test"] = Example(_arrays(test_input_data), expected, "made when it was packaged")
        method = zipfile.ZIP_DEFLATED if zip_compression else zipfile.ZIP_STORED
        where = env or _trial_env(platform, platform_version_semver)
        with raised_as_theirs(all_errors=True):
            finish(
                draft, shown, as_zip=package_as_zip, compression=method, env=where,
                keep=persist_test_data, check_expected=False,
            )  # fmt: skip


def one_of(**given: Any) -> str:
    """The name of the one argument that is not None. Raises ``SpecError`` where it is not one."""
    said = [name for name, value in given.items() if value is not None]
    if len(said) != 1:
        raise SpecError(f"give exactly one of {', '.join(given)}, not {' and '.join(said) or 'none'}")
    return said[0]


def _trial_env(platform: str, versions: str) -> Env | None:
    framework = _FRAMEWORKS.get(platform)
    # by the installed metadata: to import a framework here for its version would take seconds
    installed = metadata.packages_distributions().get(framework, ()) if framework is not None else ()
    return Env.current() if any(semver.satisfies(metadata.version(name), versions) for name in installed) else None


def _arrays(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: as_theirs(value) for name, value in values.items()}
