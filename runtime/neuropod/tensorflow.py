"""What of TensorFlow's a package is written with: the caller's own, looked up by name, for nothing here needs it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError


def library() -> Any:
    """The caller's ``tensorflow``. Raises ``SpecError`` where there is none."""
    try:
        return importlib.import_module("tensorflow")
    except ImportError as error:
        raise SpecError(f"this application has no tensorflow to write the model with: {error}") from error


def save(trackable: Any, folder: Path) -> None:
    """As a SavedModel."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    library().saved_model.save(trackable, str(folder))


def write_graph(graph: Any, file: Path) -> None:
    """A ``GraphDef``, as it stands. Raises ``SpecError`` for what is none."""
    if not callable(getattr(graph, "SerializeToString", None)):
        raise SpecError(f"graph_def is a {type(graph).__name__}, not a GraphDef")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(graph.SerializeToString())


def check_mapping(
    mapping: Mapping[str, str] | None, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
) -> None:
    """Each input and output of a frozen graph is some node's. Raises ``SpecError``."""
    names = {str(spec["name"]) for spec in (*inputs, *outputs)}
    wrong = sorted(names ^ (mapping or {}).keys())
    if wrong:
        raise SpecError(f"node_name_mapping must say a node for each input and output, and no more: {', '.join(wrong)}")
