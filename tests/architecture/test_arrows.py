"""The four rooms, and who may import whom: read from the source by ast, so that no import runs."""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT, folder_of_package, module_name, product_files

# room → which other rooms it may import
ARROWS: dict[str, set[str]] = {
    "isopod": {"isopod.runtime"},
    "isopod.runtime": {"isopod.ipc"},
    "isopod.opeworker": {"isopod.ipc"},
    "isopod.ipc": set(),
}


def dependencies() -> set[str]:
    """The modules of the libraries that pyproject.toml declares (by hand: Python 3.10 has no tomllib)."""
    block = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("\ndependencies = [")[2].partition("\n]")[0]
    return {name.replace("-", "_") for name in re.findall(r'"([\w-]+)', block)}


# Python 3.10, on which these tests may run, does not know what came into the standard library after it.
STANDARD = sys.stdlib_module_names | {"tomllib"}

# room → third-party modules that its files may import as they load
THIRD_PARTY: dict[str, set[str]] = {
    "isopod": {"numpy"},
    "isopod.runtime": dependencies(),
    "isopod.opeworker": set(),
    "isopod.ipc": set(),
}

# room → those that may be imported inside a function, or where an ImportError is caught: they may be absent
GUARDED: dict[str, set[str]] = {
    "isopod": {"rich", "posix_ipc", "uv"},
    "isopod.runtime": {"matplotlib", "ml_dtypes", "rich", "uv", "grpc"},
    "isopod.opeworker": {"numpy"},
    "isopod.ipc": {"numpy", "msgpack", "posix_ipc", "ml_dtypes"},
}

# Files that are themselves imported late, when the model's environment is active: numpy may stand at their top.
AFTER_ACTIVATION = {"ipc/lease.py", "ipc/tensor.py", "ipc/transfer.py", "opeworker/outputs.py"}
# Model files of the demo run in workers, too.
FREE_OF_RULES = ("isopod/demo/",)

# A framework is imported only inside its backend, and only where its absence is told of (``requires``) or expected.
BACKENDS = "opeworker/backends/"
FRAMEWORKS: dict[str, set[str]] = {
    "torch_values.py": {"torch"},
    "torchscript.py": {"torch"},
    "pytorch.py": {"torch"},
    "tensorflow_values.py": {"tensorflow"},
    "tensorflow_graph.py": {"tensorflow"},
    "tensorflow.py": {"tensorflow"},
    "keras.py": {"keras", "tensorflow"},
    "onnx.py": {"onnxruntime"},
    "sklearn.py": {"sklearn", "joblib", "skops", "pandas"},
    "tensorrt.py": {"tensorrt"},
}


@dataclasses.dataclass(frozen=True)
class Import:
    path: str
    line: int
    module: str
    optional: bool  # inside a function, or where its ImportError is caught or told of

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}{'' if self.optional else ' as it loads'}"


def room_of(module: str) -> str:
    """The longest package of the map that holds ``module``; ``isopod`` itself is the last resort."""
    return max((room for room in ARROWS if f"{module}.".startswith(f"{room}.")), key=len)


def imports_of(path: Path, source: str) -> Iterator[Import]:
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]

    def visit(node: ast.AST, optional: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            children: list[ast.AST] = list(node.orelse)
        elif isinstance(node, ast.Try) and any(_catches_import_error(handler) for handler in node.handlers):
            for guarded in node.body:
                yield from visit(guarded, True)
            children = [*node.handlers, *node.orelse, *node.finalbody]
        else:
            children = list(ast.iter_child_nodes(node))
        optional = optional or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _requires(node)
        for module in _modules(node, package):
            yield Import(str(path), getattr(node, "lineno", 0), module, optional)
        for child in children:
            yield from visit(child, optional)

    yield from visit(ast.parse(source), False)


def _requires(node: ast.AST) -> bool:
    return isinstance(node, ast.With) and ast.unparse(node.items[0].context_expr).startswith("requires(")


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    caught = "" if handler.type is None else ast.unparse(handler.type)
    return bool(re.search(r"ImportError|ModuleNotFoundError", caught)) or caught in ("", "Exception", "BaseException")


def _modules(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, *([base] if base else [])])
    # "from isopod import ipc" imports a room, and "from isopod import load" the top: the names tell.
    return [f"{base}.{alias.name}" for alias in node.names] if base == "isopod" else [base]


def faults(found: Import) -> str | None:
    """Why an import breaks the architecture, or None."""
    room = room_of(module_name(Path(found.path)))
    top = found.module.split(".")[0]
    if top == "isopod":
        target = room_of(found.module)
        allowed = target == room or target in ARROWS[room]
        return None if allowed else f"{found}: {room} may import {sorted(ARROWS[room]) or 'no other room'}"
    if top in STANDARD or found.path.startswith(FREE_OF_RULES):
        return None
    if found.path.startswith(BACKENDS):
        if top == "numpy" or (top in FRAMEWORKS.get(Path(found.path).name, ()) and found.optional):
            return None
        return f"{found}: not a framework of this backend, or not inside 'with requires(…)'"
    if top in THIRD_PARTY[room] or (top in GUARDED[room] and (found.optional or found.path in AFTER_ACTIVATION)):
        return None
    if top in GUARDED[room]:
        return f"{found}: move it into a function, or catch its ImportError"
    return f"{found}: not a library that {room} may use"


def test_the_rooms_are_those_of_the_map() -> None:
    assert set(folder_of_package()) == set(ARROWS)


def test_arrows() -> None:
    found = [one for path in product_files() for one in imports_of(path, (ROOT / path).read_text(encoding="utf-8"))]
    assert [fault for one in found if (fault := faults(one))] == []


def test_the_dependencies_are_read() -> None:
    assert {"numpy", "posix_ipc", "msgpack", "psutil"} <= dependencies()


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("runtime/a.py", "from isopod.opeworker import serve", "may import"),
        ("runtime/a.py", "def f():\n    from isopod import opeworker", "may import"),
        ("runtime/a.py", "from isopod import load", "may import"),
        ("runtime/a.py", "from ..opeworker import serve", "may import"),
        ("runtime/environment/a.py", "from ...ipc import errors", None),
        ("opeworker/a.py", "import isopod.runtime.model", "may import"),
        ("ipc/a.py", "import isopod.runtime", "may import"),
        ("isopod/a.py", "from isopod.ipc import errors", "may import"),
        ("isopod/__init__.py", "from .runtime import load", None),
        ("isopod/cli/a.py", "import rich", "move it into a function"),
        ("isopod/cli/a.py", "def f():\n    import rich.console", None),
        ("ipc/a.py", "import numpy as np", "move it into a function"),
        ("ipc/a.py", "try:\n    import numpy as np\nexcept ImportError:\n    np = None", None),
        ("ipc/a.py", "try:\n    import numpy as np\nexcept OSError:\n    np = None", "move it into a function"),
        ("ipc/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy", None),
        ("ipc/tensor.py", "import numpy as np", None),
        ("ipc/a.py", "class A:\n    import psutil", "not a library"),
        ("opeworker/a.py", "def f():\n    import torch", "not a library"),
        ("opeworker/backends/pytorch.py", "with requires('torch'):\n    import torch", None),
        ("opeworker/backends/pytorch.py", "def f():\n    import torch", None),
        ("opeworker/backends/pytorch.py", "import torch", "not inside"),
        ("opeworker/backends/onnx.py", "with requires('torch'):\n    import torch", "not a framework of this backend"),
        ("opeworker/backends/onnx.py", "import numpy as np", None),
        ("opeworker/backends/a.py", "from isopod.runtime import model", "may import"),
    ],
)
def test_the_rule_itself(path: str, source: str, fault: str | None) -> None:
    found = [why for one in imports_of(Path(path), source) if (why := faults(one))]
    assert (fault is None and not found) or (fault is not None and len(found) == 1 and fault in found[0])
