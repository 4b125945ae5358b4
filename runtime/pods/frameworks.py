"""From "what a package runs on" to an environment: which Python a framework's versions have wheels for.

A Neuropod package names its platform and a range of versions, and nothing else. The newest series of the framework is
taken that the range allows and that a Python of this machine can run.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.specifiers import SpecifierSet

from isopod.ipc.errors import SpecError
from isopod.runtime.environment import Env, find_interpreter

from . import layout, semver


@dataclass(frozen=True)
class Series:
    """Versions ``first`` up to the next series: the Pythons that they have wheels for, and what else they need."""

    first: str
    python: str
    beside: tuple[str, ...] = ()
    from_source: tuple[str, ...] = ()


# Newest first. What is in ``beside`` did not exist, or was not yet another thing, when the series was published.
_SERIES: dict[str, tuple[str, tuple[Series, ...]]] = {
    layout.TENSORFLOW: (
        "tensorflow",
        (
            Series("2.20", ">=3.10,<3.14"),
            Series("2.16", ">=3.9,<3.13"),
            Series("2.12", ">=3.8,<3.12"),
            Series("2.8", ">=3.7,<3.11", ("protobuf<3.21", "numpy<2")),
            Series("2.4", ">=3.7,<3.10", ("protobuf<3.21", "numpy<2")),
            Series("2.2", ">=3.7,<3.9", ("protobuf<3.21", "numpy<2")),
            Series("1.13", ">=3.7,<3.8", ("protobuf<3.21",), ("gast",)),
        ),
    ),
    layout.TORCH: (
        "torch",
        (
            Series("2.6", ">=3.10,<3.14"),
            Series("2.2", ">=3.8,<3.13"),
            Series("2.0", ">=3.8,<3.12", ("numpy<2",)),
            Series("1.13", ">=3.7,<3.12", ("numpy<2",)),
            Series("1.11", ">=3.7,<3.11", ("numpy<2",)),
            Series("1.8", ">=3.7,<3.10", ("numpy<2",)),
            Series("1.0", ">=3.7,<3.9", ("numpy<2",)),
        ),
    ),
    layout.PYTORCH: (
        "torch",
        (
            Series("2.6", ">=3.10,<3.14"),
            Series("2.2", ">=3.8,<3.13"),
            Series("2.1", ">=3.8,<3.12", ("numpy<2",)),
        ),
    ),
    layout.KERAS: (
        "keras",
        (
            Series("3.0", ">=3.10,<3.14", ("tensorflow>=2.16",)),
            Series("2.13", ">=3.8,<3.12", ("tensorflow<2.16",)),
            Series("2.8", ">=3.7,<3.11", ("tensorflow<2.13", "protobuf<3.21", "numpy<2")),
        ),
    ),
    layout.ONNX: (
        "onnxruntime",
        (
            Series("1.20", ">=3.10,<3.14"),
            Series("1.17", ">=3.8,<3.13", ("numpy<2",)),
            Series("1.15", ">=3.8,<3.12", ("numpy<2",)),
            Series("1.8", ">=3.7,<3.10", ("protobuf<3.21", "numpy<2")),
        ),
    ),
    layout.SKLEARN: (
        "scikit-learn",
        (
            Series("1.7", ">=3.10,<3.14"),
            Series("1.5", ">=3.9,<3.13"),
            Series("1.3", ">=3.9,<3.13", ("numpy<2",)),
            Series("1.1", ">=3.8,<3.12", ("numpy<2",)),
            Series("0.22", ">=3.7,<3.9", ("numpy<1.24",)),
        ),
    ),
}


def environment(platform: str, version_range: str, beside: tuple[str, ...] = ()) -> Env:
    """The environment for a platform and a range of its versions, with what the model's file needs ``beside``.

    Raises ``SpecError`` for a range that is none, or that no Python of this machine can run.
    """
    if platform == layout.PYTHON:
        return _python(version_range)
    if platform not in _SERIES:
        raise SpecError(f"a {platform} model runs on the versions that it was built with: give env=isopod.Env([...])")
    package, series = _SERIES[platform]
    allowed = semver.alternatives(version_range)
    ends = ("9999", *(one.first for one in series[:-1]))
    tried = []
    for one, end in zip(series, ends, strict=True):
        for specifiers in allowed:
            if not _meets(specifiers, one.first, end):
                continue
            try:
                find_interpreter(one.python)
            except SpecError:
                tried.append(f"{package} {one.first} and later runs on Python {one.python}")
                continue
            within = SpecifierSet(f">={one.first}" + ("" if end == "9999" else f",<{end}")) & specifiers
            return Env([f"{package}{within}", *one.beside, *beside], python=one.python, from_source=one.from_source)
    reason = f": {'; '.join(tried)}, which this machine has none of" if tried else " has wheels for a Python since 3.7"
    raise SpecError(f"no {package} in {version_range!r}{reason}. Give an environment: env=isopod.Env([...])")


def _python(version_range: str) -> Env:
    """Of a Python model nothing but the interpreter is known. Where this one will do, so will its packages."""
    for specifiers in semver.alternatives(version_range):
        if not str(specifiers):
            return Env.current()
        here = Env.current()
        if _runs_here(specifiers):
            return here
    for specifiers in semver.alternatives(version_range):
        try:
            find_interpreter(str(specifiers))
        except SpecError:
            continue
        return Env(python=str(specifiers))
    raise SpecError(f"no Python of this machine is in {version_range!r}. Give one: python='/path/to/python'")


def python_request(version_range: str) -> str | None:
    """The range as ``Env(python=)`` takes it: of its alternatives the first that this machine has; None for any."""
    found = semver.alternatives(version_range)
    if not all(str(one) for one in found):
        return None
    for specifiers in found:
        try:
            find_interpreter(str(specifiers))
        except SpecError:
            continue
        return str(specifiers)
    return str(found[0])  # whose absence is told when it is built


def _runs_here(specifiers: SpecifierSet) -> bool:
    import platform

    return specifiers.contains(platform.python_version(), prereleases=True)


def _meets(specifiers: SpecifierSet, first: str, end: str) -> bool:
    """Whether a range and the versions from ``first`` to before ``end`` have one in common.

    Ranges are intervals, so it is enough to try their ends: each of ours, and each that the range names.
    """
    ours = SpecifierSet(f">={first},<{end}")
    points = {first, *(_just_inside(one.operator, one.version) for one in specifiers)}
    return any(ours.contains(point) and specifiers.contains(point) for point in points)


def _just_inside(operator: str, version: str) -> str:
    """A version at that end of a range, and in it."""
    release = [int(part) for part in version.partition("-")[0].split(".")]
    release += [0] * (3 - len(release))
    if operator == ">":
        release[2] += 1
    elif operator == "<":
        # the end of what is before it: no framework has had a minor or a patch number of a thousand
        at = next((at for at in (2, 1, 0) if release[at]), 0)
        release = [*release[:at], max(release[at] - 1, 0), *[999] * (2 - at)]
    return ".".join(map(str, release))
