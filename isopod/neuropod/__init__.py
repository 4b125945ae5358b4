"""Neuropod's names, so that ``import isopod.neuropod as neuropod`` is the whole migration.

Everything runs out of process. ::

    import isopod.neuropod as neuropod

    with neuropod.load_neuropod("addition.zip") as model:
        print(model.infer({"x": x, "y": y})["out"])
"""

from isopod.neuropod.loader import Neuropod, load_neuropod
from isopod.neuropod.packagers import (
    create_keras_neuropod,
    create_python_neuropod,
    create_pytorch_neuropod,
    create_tensorflow_neuropod,
    create_torchscript_neuropod,
)
from isopod.runtime.neuropod.errors import NeuropodError

__all__ = [
    "Neuropod",
    "NeuropodError",
    "create_keras_neuropod",
    "create_python_neuropod",
    "create_pytorch_neuropod",
    "create_tensorflow_neuropod",
    "create_torchscript_neuropod",
    "load_neuropod",
]
