"""The model of a framework's own file on its way into a pod: its platform, its place, its options, what it says itself.

A model in Python is not for here: that is code, which ``packing`` writes an entry point for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.runtime.environment import Env
from isopod.runtime.loading import load
from isopod.runtime.target import Target

from . import frameworks, layout, specs
from .draft import Draft

_OPTIONS = {layout.KERAS: ("imports", "safe_mode"), layout.SKLEARN: ("methods", "trusted"), layout.ONNX: ("providers",)}
_BY_BACKEND = {"torchscript": layout.TORCH, "tensorflow": layout.TENSORFLOW, **{name: name for name in layout.OF_FILES}}
# Files that hardly any version reads but the one that wrote them: which one that was, whoever packs them says.
_OF_ONE_VERSION = {layout.SKLEARN: "scikit-learn", layout.PYTORCH: "torch"}

Given = Iterable[TensorSpec | Mapping[str, Any]] | None


def platform_of(model: str | os.PathLike[str]) -> str:
    """The platform of a model as ``pack`` is given it. Raises ``SpecError`` for what is none."""
    found = Target.parse(model)
    if found.path is not None:
        return _BY_BACKEND[found.backend]
    if found.file is None:
        raise SpecError(f"{os.fspath(model)!r} is a module of an environment; name the file: 'path/to/model.py:Name'")
    return layout.PYTHON


class Said(NamedTuple):
    """By a model of itself; ``answer`` are outputs that were seen, None where it was not called."""

    inputs: Sequence[TensorSpec] = ()
    outputs: Sequence[TensorSpec] = ()
    answer: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ModelFile:
    """``nodes`` and ``init_ops`` are a frozen graph's, ``options`` the backend's own, ``beside`` files that it reads.

    Raises ``SpecError`` for what its platform does not have.
    """

    path: Path
    platform: str
    options: Mapping[str, Any] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)
    init_ops: Sequence[str] = ()
    beside: Mapping[str, str | os.PathLike[str]] = field(default_factory=dict)
    ops: Sequence[str | os.PathLike[str]] = ()

    def __post_init__(self) -> None:
        known = _OPTIONS.get(self.platform, ())
        for name in self.options:
            if name not in known:
                raise SpecError(f"a {self.platform} pod has no option {name!r}; it has {', '.join(known) or 'none'}")
        if self.beside and self.platform != layout.ONNX:
            raise SpecError("data are for models in Python, and for weights beside an ONNX file")

    def add_to(self, draft: Draft) -> None:
        """Copy it. Raises ``SpecError``."""
        if self.platform == layout.TORCH:
            draft.copy(self.path, layout.TORCHSCRIPT)
        elif self.platform == layout.TENSORFLOW:
            draft.copy(self.path, layout.SAVED_MODEL if self.path.is_dir() else layout.FROZEN_GRAPH)
            own = {"node_name_mapping": dict(self.nodes), "init_op_names": list(self.init_ops)}
            draft.write_json(layout.PLATFORM_CONFIG, own)
        else:
            name = f"model{self.path.suffix.lower()}"  # of which some backends read the ending
            draft.copy(self.path, f"{layout.DATA}/{name}")
            for packaged, file in self.beside.items():
                draft.copy(file, f"{layout.DATA}/{packaged}")
            options = dict(self.options)
            for source in options.get("imports", ()):
                draft.copy(source, f"{layout.CODE}/{Path(source).name}")
            if "imports" in options:
                options["imports"] = [Path(source).name for source in options["imports"]]
            draft.write_json(layout.PLATFORM_CONFIG, {"model": name, "options": options})

    def says(self, env: Env | None, versions: str, inputs: Mapping[str, Any] | None) -> Said:
        """What the model says itself, in a worker, and what it gives for ``inputs``. Raises what ``load`` raises."""
        torchscript = self.platform == layout.TORCH  # which says names at most, and its outputs are called as declared
        if torchscript and inputs is None:
            return Said()
        options = dict(self.options)
        if self.platform == layout.TENSORFLOW and not self.path.is_dir():
            options = {"node_name_mapping": dict(self.nodes), "init_op_names": list(self.init_ops)}
        where = frameworks.environment(self.platform, versions) if env is None else env
        with load(self.path, env=where, options=options, ops=self.ops, workers=1, name=self.path.stem) as found:
            answer = None if inputs is None else dict(found(dict(inputs)))
            return Said((), (), answer) if torchscript else Said(found.inputs, found.outputs, answer)

    def check_version_is_said(self, env: Env | None, versions: str) -> None:
        """Raises ``SpecError`` where the newest version of the framework would be a guess."""
        package = _OF_ONE_VERSION.get(self.platform)
        if package and env is None and versions == "*":
            raise SpecError(
                f"{self.path} is read by the {package} that wrote it and by few others: say which, "
                f"env=isopod.Env(['{package}==…']) or versions='~1.2'"
            )


def joined(
    given: Given, own: Sequence[TensorSpec], values: Mapping[str, Any] | None, what: str
) -> tuple[TensorSpec, ...]:
    """What a pod declares: what was given, or else what the model says, filled up with what the test's values show."""
    if given is not None:
        return specs.given(given, what)
    if values is None and not own:
        raise SpecError(f"a pod says what it takes and gives: give {what}, or test_{what} that show them")
    found = {spec.name: spec for spec in own}
    for name, value in (values or {}).items():
        shown, its = specs.of_value(name, value), found.get(name)
        shape = shown.shape if its is None or its.shape is None else its.shape
        found[name] = TensorSpec(name, (its and its.dtype) or shown.dtype, shape, its is None or its.required)
    for spec in list(found.values()):
        if spec.dtype and spec.shape is not None:
            continue
        if spec.required:
            raise SpecError(
                f"the model does not say the dtype and the shape of {spec.name!r}: give {what}, or test_{what} that "
                "show them"
            )
        del found[spec.name]
    return tuple(found.values())
