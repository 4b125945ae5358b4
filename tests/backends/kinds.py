"""Each kind of model file that there is, with one that computes y = 2x + 1 for three columns, as its format can say it.

The contract's tests run for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends import files
from backends.environments import environment

import isopod


@dataclass(frozen=True)
class Kind:
    """``env`` is in environments.py, ``writer`` in writers/ makes ``what`` in a file called ``name``.

    ``given`` and ``returned`` are the names of its input and output, with the shapes as it says them (None: it does not
    say); ``copies_out`` is whether the output must be copied, ``copies_read_only`` whether an input is that may not be
    written.
    """

    id: str
    env: str
    writer: str
    what: str
    name: str
    given: str = "x"
    returned: str = "y"
    shape: tuple[Any, ...] | None = (None, 3)
    out_shape: tuple[Any, ...] | None = (None, 3)
    dtype: str = "float32"
    out_dtype: str = "float32"
    copies_out: bool = True
    copies_read_only: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        if not self.what:
            return files.WRITERS / self.name
        path = folder / self.name
        if not path.exists():
            files.write(folder, self.writer, self.env, [(self.what, self.name)])
        return path

    def load(self, folder: Path, **more: Any) -> isopod.Model:
        env = environment(self.env)
        target = f"{self.write(folder)}" if self.what else f"{files.WRITERS / self.name}"
        return isopod.load(target, env=env, name=self.id, **{**self.options, **more})


_TF1, _TF2, _NODES = "tensorflow 1.15.5", "tensorflow 2.21", {"options": {"node_name_mapping": {"x": "x", "y": "y:0"}}}
_COPIES: dict[str, Any] = {"copies_read_only": True}
_UNSAID: dict[str, Any] = {"shape": None, "out_shape": None, "dtype": ""}
_SKLEARN: dict[str, Any] = {
    "given": "X", "returned": "predict", "shape": ("rows", 3), "out_shape": None, "dtype": "", "out_dtype": "float64",
}  # fmt: skip
KINDS = [
    Kind("torchscript 2", "torch 2.13.0", "torch", "Double", "double.pt", **_UNSAID, **_COPIES),
    Kind("torchscript 1", "torch 1.12.1", "torch", "Double", "double_1.pt", **_UNSAID, **_COPIES),
    Kind("eager", "torch 2.13.0", "torch", "", "eager.py:Double", options={"backend": "pytorch"}, **_UNSAID, **_COPIES),
    Kind("pt2", "torch 2.13.0", "torch", "ExportedDouble", "double.pt2", shape=("s", 3), out_shape=("s", 3), **_COPIES),
    Kind("saved model 2", _TF2, "tensorflow", "module", "module", **_COPIES),
    Kind("saved model 1", _TF1, "tensorflow", "saved_model double", "saved_1"),
    Kind("saved model of 1 in 2", _TF2, "tensorflow", "saved_model double", "saved_1_in_2", **_COPIES),
    Kind("graph 2", _TF2, "tensorflow", "graph double", "double.pb", options=_NODES),
    Kind("graph 1", _TF1, "tensorflow", "graph double", "double_1.pb"),
    Kind("keras 3", _TF2, "keras", "double", "double.keras", **_COPIES),
    Kind("keras 2", "tensorflow 2.15.1", "keras", "double", "double_2.keras", **_COPIES),
    Kind("h5 of TF 1", _TF1, "keras", "double", "double.h5"),
    Kind("onnx", "onnxruntime 1.23", "onnx", "double", "double.onnx", shape=("batch", 3), out_shape=("batch", 3),
         copies_out=False),
    Kind("onnx 1.10", "onnxruntime 1.10", "onnx", "double", "double_1.onnx", shape=("batch", 3),
         out_shape=("batch", 3), copies_out=False),
    Kind("joblib", "scikit-learn 1.9.1", "sklearn", "double", "double.joblib", **_SKLEARN),
    Kind("pickle", "scikit-learn 1.9.1", "sklearn", "double", "double.pkl", **_SKLEARN),
    Kind("skops", "scikit-learn 1.9.1", "sklearn", "double", "double.skops", **_SKLEARN),
]  # fmt: skip
