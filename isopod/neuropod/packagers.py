"""Where Neuropod had its packagers: ``from isopod.neuropod.packagers import create_python_neuropod``."""

from isopod.runtime.neuropod.packagers import (
    create_keras_neuropod,
    create_python_neuropod,
    create_pytorch_neuropod,
    create_tensorflow_neuropod,
    create_torchscript_neuropod,
)

__all__ = [
    "create_keras_neuropod",
    "create_python_neuropod",
    "create_pytorch_neuropod",
    "create_tensorflow_neuropod",
    "create_torchscript_neuropod",
]
