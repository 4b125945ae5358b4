"""Files of Keras 2 and of Keras 3, from the same code: each answers under the Keras that wrote it, and no other.

The model has a layer of its own. It is the demo's network, so its answers are held against numpy's. That the code runs
under both is shown by the files that both write: it is the files that exclude each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conflicts.environments import ENVIRONMENTS, had

import isopod
from isopod.demo import reference

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(900)]

MODEL = Path(__file__).resolve().parent.parent / "models" / "keras_file.py"
OLD, NEW = "tensorflow 2.15.1", "tensorflow 2.21"


@dataclass(frozen=True)
class File:
    """What a file is called, which version writes it, and what the other one says of it: an error and its words."""

    name: str
    writer: str
    error: str
    words: str

    @property
    def other(self) -> str:
        return NEW if self.writer == OLD else OLD


FILES = [
    File("two.h5", OLD, "TypeError", "Unrecognized keyword arguments passed to DepthwiseConv2D: {'groups': 1}"),
    File(
        "two_saved_model",
        OLD,
        "ValueError",
        "the legacy SavedModel format is not supported by `load_model()` in Keras 3",
    ),
    File("two.keras", OLD, "TypeError", "could not be deserialized properly"),
    File("three.keras", NEW, "TypeError", "Unrecognized keyword arguments: ['batch_shape', 'optional']"),
]


@pytest.fixture(scope="module")
def folder(_supervisor_at_rest: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All the files, each written by its own Keras."""
    folder = tmp_path_factory.mktemp("keras")
    weights = folder / "weights.npz"
    reference.save(reference.weights(), weights)
    for version in (OLD, NEW):
        had(version)
        with isopod.load(f"{MODEL}:Writer", env=ENVIRONMENTS[version], args={"weights": str(weights)}) as writer:
            for file in FILES:
                if file.writer == version:
                    answer = writer(path=str(folder / file.name))
                    assert answer["version"].startswith(version.split()[1])
    return folder


def load(path: Path, version: str) -> isopod.Model:
    return isopod.load(f"{MODEL}:Net", env=ENVIRONMENTS[version], args={"path": str(path)}, name=version)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_is_answered_by_its_own_keras_alone(file: File, folder: Path) -> None:
    images = reference.images(16)
    right = reference.chances(images, reference.weights())
    with load(folder / file.name, file.writer) as model:
        answer = model(images=images)
        np.testing.assert_allclose(answer["chances"], right, atol=1e-5)
        with pytest.raises(isopod.ModelError) as caught:
            load(folder / file.name, file.other).close()
        assert caught.value.type_name == file.error
        assert file.words in caught.value.remote_message
        assert file.other in str(caught.value)
        np.testing.assert_array_equal(model(images=images)["chances"], answer["chances"])


def test_one_application_answers_from_both(folder: Path) -> None:
    images = reference.images(16)
    right = reference.chances(images, reference.weights())
    with load(folder / "two_saved_model", OLD) as old, load(folder / "three.keras", NEW) as new:
        futures = [model.submit(images=images) for model in (old, new)]
        answers = [future.result(60) for future in futures]
    assert [answer["version"].rpartition(".")[0] for answer in answers] == ["2.15", "2.21"]
    for answer in answers:
        np.testing.assert_allclose(answer["chances"], right, atol=1e-5)
