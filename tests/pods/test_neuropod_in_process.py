"""What Neuropod's users hand over as objects of their own framework: this application has it, as theirs does.

Each program below runs on the environment's own Python, with isopod and its few dependencies behind the framework's.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
from conflicts.environments import had
from repository import OWN_FOLDERS, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.full, pytest.mark.timeout(900)]

HEAD = """
import sys
sys.path += [sys.argv[2], sys.argv[3]]  # isopod, and after everything else what it depends on
import numpy as np
import isopod.neuropod as neuropod
X, Y = np.arange(4, dtype=np.float32), np.ones(4, np.float32)
spec = lambda *names: [{"name": name, "dtype": "float32", "shape": ("n",)} for name in names]
common = dict(neuropod_path=sys.argv[1], model_name="m", test_input_data={"x": X, "y": Y})
wrong = lambda good: {**common, "neuropod_path": sys.argv[1] + ".wrong", "test_expected_out": {"out": good + 1}}
def check(create, good, **own):
    create(**common, **own, test_expected_out={"out": good})
    with neuropod.load_neuropod(sys.argv[1], env=sys.executable) as model:
        assert np.allclose(model.infer({"x": X, "y": Y})["out"], good)
    try:
        create(**wrong(good), **own)
    except ValueError as error:
        assert "not what was expected" in str(error), error
    else:
        raise SystemExit("a wrong answer was packaged")
"""
TORCHSCRIPT = """
import torch
class Addition(torch.nn.Module):
    def forward(self, x, y):
        return {"out": x + y}
check(neuropod.create_torchscript_neuropod, X + Y, module=torch.jit.script(Addition()),
      input_spec=spec("x", "y"), output_spec=spec("out"))
"""
TRACKABLE = """
import tensorflow as tf
class Addition(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)] * 2)
    def __call__(self, x, y):
        return {"out": x + y}
check(neuropod.create_tensorflow_neuropod, X + Y, trackable_obj=Addition(),
      input_spec=spec("x", "y"), output_spec=spec("out"))
"""
GRAPH = """
import tensorflow as tf
v1 = tf.compat.v1
with tf.Graph().as_default() as graph:
    x, y = v1.placeholder(tf.float32, [None], name="x"), v1.placeholder(tf.float32, [None], name="y")
    tf.add(x, y, name="sum")
check(neuropod.create_tensorflow_neuropod, X + Y, graph_def=graph.as_graph_def(),
      node_name_mapping={"x": "x:0", "y": "y", "out": "sum"}, input_spec=spec("x", "y"), output_spec=spec("out"))
"""
KERAS = """
import keras
X = np.arange(6, dtype=np.float32).reshape(2, 3)
Y = X + 1
common["test_input_data"] = {"x": X, "y": Y}
a, b = keras.Input((3,), name="x"), keras.Input((3,), name="second")
model = keras.Model([a, b], keras.layers.Add(name="out")([a, b]))
names = {"y": "second"}
if "out" not in getattr(model, "output_names", []):
    names["out"] = model.output_names[0] if getattr(model, "output_names", None) else model.outputs[0].name
check(neuropod.create_keras_neuropod, X + Y, model=model, node_name_mapping=names)
with neuropod.load_neuropod(sys.argv[1], env=sys.executable) as loaded:
    assert {i["name"]: (i["dtype"], i["shape"]) for i in loaded.inputs} == {
        "x": ("float32", ["batch_size", 3]), "y": ("float32", ["batch_size", 3])}, loaded.inputs
"""
SESSION = """
import tensorflow as tf
v1 = tf.compat.v1
v1.disable_eager_execution()
X = np.ones((2, 3), np.float32)
common["test_input_data"] = {"x": X}
Y = None
with v1.Session() as session:
    x = tf.keras.layers.Input((3,), name="x")
    out = tf.keras.layers.Dense(2, kernel_initializer="ones", name="out")(x)
    model = tf.keras.Model(x, out)
    v1.keras.backend.set_session(session)
    session.run(v1.global_variables_initializer())
    neuropod.create_keras_neuropod(**common, sess=session, model=model, test_expected_out={"out": X[:, :2] * 3})
with neuropod.load_neuropod(sys.argv[1], env=sys.executable) as loaded:
    assert loaded.platform == "tensorflow"
    assert loaded.outputs == [{"name": "out", "dtype": "float32", "shape": ["batch_size", 2]}], loaded.outputs
    assert (loaded.infer({"x": X})["out"] == 3).all()
"""


@pytest.mark.parametrize(
    ("framework", "program"),
    [
        ("torch 2.13.0", TORCHSCRIPT),
        ("tensorflow 2.21", TRACKABLE),
        ("tensorflow 2.21", GRAPH),
        ("tensorflow 2.21", KERAS),
        ("tensorflow 2.15.1", SESSION),
    ],
    ids=["torchscript", "trackable", "graph_def", "keras", "keras in a session"],
)
def test_an_object_of_the_caller_s(framework: str, program: str, tmp_path: Path) -> None:
    prepared = had(framework)
    package = tmp_path / "links" / "isopod"
    package.mkdir(parents=True)
    for path in [*(ROOT / "isopod").iterdir(), *(ROOT / folder for folder in OWN_FOLDERS if folder != "isopod")]:
        (package / path.name).symlink_to(path)
    arguments = [str(tmp_path / "made"), str(package.parent), sysconfig.get_paths()["purelib"]]
    script = tmp_path / "program.py"  # a file: Torch scripts what it can read
    script.write_text(HEAD + program, encoding="utf-8")
    done = subprocess.run(
        [str(prepared.executable), str(script), *arguments], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, **prepared.variables, "ISOPOD_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / "made.wrong").exists()
