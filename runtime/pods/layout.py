"""Where what lies in a pod: Neuropod's layout, which existing packages have, and what is ours beside it.

Ours are a few files, and platforms that Neuropod does not know, whose models are one file of a framework: it refuses a
package of them by the name of its platform.

::

    config.json            name, platform, range of its versions, inputs, outputs, custom ops
    manifest.json          the sha256 of every other file
    test_data.pkl          Neuropod's own test data: a pickle, so it is never opened
    isopod.toml            ours: environment, sandbox, limits, problem, metadata
    pylock.toml            ours: what its environment installs
    examples/NAME.json     ours: inputs and what they give, the arrays in NAME.npz beside it
    0/config.json          what the platform itself wants to know
    0/data/                the model: model.pb, savedmodel/, model.pt, model.onnx …, or files of a Python model
    0/ops/                 libraries of custom operations
    0/code/                Python code
    0/requirements.lock    name==version lines

A pod is that folder, or the same in a zip.
"""

from __future__ import annotations

CONFIG = "config.json"
MANIFEST = "manifest.json"
PICKLE = "test_data.pkl"
SECTION = "isopod.toml"
LOCK = "pylock.toml"
EXAMPLES = "examples"
PLATFORM_CONFIG = "0/config.json"
DATA = "0/data"
OPS = "0/ops"
CODE = "0/code"
REQUIREMENTS = "0/requirements.lock"

FROZEN_GRAPH = "0/data/model.pb"
SAVED_MODEL = "0/data/savedmodel"
TORCHSCRIPT = "0/data/model.pt"

PYTHON = "python"
TENSORFLOW = "tensorflow"
TORCH = "torchscript"
ONNX = "onnx"
SKLEARN = "sklearn"
KERAS = "keras"
PYTORCH = "pytorch"  # a program of torch.export: Neuropod's eager PyTorch is of the platform python
TENSORRT = "tensorrt"
# ours: each has its backend's name, and a file in DATA that the platform's own config names, with options
OF_FILES = (ONNX, SKLEARN, KERAS, PYTORCH, TENSORRT)
PLATFORMS = (PYTHON, TENSORFLOW, TORCH, *OF_FILES)

SUFFIXES = (".zip", ".pod")
