"""``benchmarks`` is found where it lies: the root is not on the path, or runtime and ipc would be top-level names."""

from __future__ import annotations

import importlib.util
import sys

from repository import ROOT

if "benchmarks" not in sys.modules:
    _FOLDER = ROOT / "benchmarks"
    _SPEC = importlib.util.spec_from_file_location(
        "benchmarks", _FOLDER / "__init__.py", submodule_search_locations=[str(_FOLDER)]
    )
    assert _SPEC is not None
    assert _SPEC.loader is not None
    sys.modules["benchmarks"] = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(sys.modules["benchmarks"])
