"""Estimators: their outputs are the methods that they have, and a file that is none is told so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends.environments import environment
from backends.files import write

import isopod

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(900)]

NEW, OLD = "scikit-learn 1.9.1", "scikit-learn 1.2.2"
FILES = [
    ("classifier", "classifier.pkl"), ("forest", "forest.skops"), ("forest", "forest.pkl"), ("scaler", "scaler.joblib"),
    ("scaler", "small_scaler.joblib"), ("columns", "columns.pkl"), ("several", "several.pkl"),
    ("double", "double.pkl"), ("only_fit", "only_fit.pkl"), ("no_estimator", "no_estimator.pkl"),
]  # fmt: skip
X = np.random.default_rng(0).normal(size=(60, 3))
LABELS = np.where(X.sum(1) > 0, "high", "low")


@pytest.fixture(scope="module")
def folder(_supervisor_at_rest: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sklearn")
    write(folder, "sklearn", NEW, FILES)
    return folder


def load(folder: Path, name: str, version: str = NEW, **more: Any) -> isopod.Model:
    return isopod.load(folder / name, env=environment(version), name=name, **more)


def test_a_classifier_predicts_labels_and_chances(folder: Path) -> None:
    with load(folder, "classifier.pkl") as model:
        assert model.inputs == (isopod.TensorSpec("X", "", ("rows", 3)),)
        assert [(spec.name, spec.dtype, spec.shape) for spec in model.outputs] == [
            ("predict", "text", ("rows",)),
            ("predict_proba", "", ("rows", 2)),
        ]
        answer = model(X=X)
        assert (answer["predict"] == LABELS).mean() > 0.9
        np.testing.assert_allclose(answer["predict_proba"].sum(1), 1)
    with load(folder, "classifier.pkl", options={"methods": ["decision_function"]}) as model:
        assert [*model(X=X)] == ["decision_function"]
    with pytest.raises(isopod.SpecError, match="a Pipeline has no method dance"):
        load(folder, "classifier.pkl", options={"methods": ["dance"]})


def test_several_targets_are_several_outputs(folder: Path) -> None:
    with load(folder, "several.pkl") as model:
        answer = model(X=X)
        assert answer["predict"].shape == (60, 2)
        assert answer["predict_proba_0"].shape == answer["predict_proba_1"].shape == (60, 2)


@pytest.mark.parametrize("name", ["scaler.joblib", "small_scaler.joblib"])
def test_what_cannot_predict_transforms(folder: Path, name: str) -> None:
    with load(folder, name) as model:
        np.testing.assert_allclose(model(X=X)["transform"].mean(0), 0, atol=1e-9)


def test_columns_are_given_by_name_or_at_once(folder: Path) -> None:
    with load(folder, "columns.pkl") as model:
        assert [(spec.name, spec.required) for spec in model.inputs] == [
            ("X", False), ("a", False), ("b", False), ("c", False),
        ]  # fmt: skip
        at_once = model(X=X)
        by_name = model(a=X[:, 0], b=X[:, 1], c=X[:, 2])
        np.testing.assert_allclose(at_once["predict_proba"], by_name["predict_proba"], rtol=1e-12)
        with pytest.raises(isopod.SpecError, match="the columns b, c were not given; give all of them, or X"):
            model(a=X[:, 0])
        with pytest.raises(isopod.SpecError, match="give X, or its columns by name, not both"):
            model(X=X, a=X[:, 0])


def test_skops_loads_only_what_is_trusted(folder: Path) -> None:
    with pytest.raises(isopod.SpecError, match=r"types that skops does not trust: sklearn\.tree\._tree\.Tree"):
        load(folder, "forest.skops")
    with load(folder, "forest.skops", options={"trusted": ["sklearn.tree._tree.Tree"]}) as model:
        assert (model(X=X)["predict"] == LABELS).mean() > 0.9
    with pytest.raises(isopod.SpecError, match="'trusted' is for skops files"):
        load(folder, "classifier.pkl", options={"trusted": ["a"]})


def test_what_is_no_estimator_is_told_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(isopod.SpecError, match=r"holds a sklearn\.cluster.*DBSCAN, which can neither predict nor"):
        load(folder, "only_fit.pkl")
    with pytest.raises(isopod.SpecError, match=r"holds a builtins\.dict"):
        load(folder, "no_estimator.pkl")
    data = (folder / "classifier.pkl").read_bytes()
    for name, kept in (("cut.pkl", len(data) // 2), ("cut.joblib", 100)):
        (tmp_path / name).write_bytes(data[:kept])
        with pytest.raises(isopod.SpecError, match=r"cannot be read by scikit-learn 1\.9\.1: .*cut short"):
            load(tmp_path, name)


def test_a_pickle_of_another_version_fails_with_both_in_sight(folder: Path) -> None:
    write(folder, "sklearn", OLD, [("forest", "old_forest.pkl"), ("forest", "old_forest.joblib")])
    for name, written, read in (
        ("forest.pkl", "1.9.1", OLD), ("old_forest.pkl", "1.2.2", NEW), ("old_forest.joblib", "1.2.2", NEW),
    ):  # fmt: skip
        told = rf"{name} cannot be read by {read}: .*written by scikit-learn {written}: load it in an environment"
        with pytest.raises(isopod.SpecError, match=rf"(?s){told}"):
            load(folder, name, read)
    with load(folder, "old_forest.pkl", OLD) as model:
        assert (model(X=X)["predict"] == LABELS).mean() > 0.9


def test_a_pickle_of_another_version_that_can_be_read_all_the_same_is_warned_of(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with load(folder, "double.pkl", OLD) as model:
        np.testing.assert_allclose(model(X=X)["predict"], X * 2 + 1)
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "LinearRegression from version 1.9.1 when using version 1.2.2" in said


def test_a_gpu_is_not_for_it(folder: Path) -> None:
    with pytest.raises(isopod.SpecError, match="cuda"):
        load(folder, "classifier.pkl", device="cuda:0")
