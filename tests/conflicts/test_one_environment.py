"""What happens to who wants both in one environment, or in one process: the resolver refuses, or the import does.

Each pair that is refused here answers in one application, in two environments: in the tests beside this one and in
those of the demo.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conflicts.environments import ENVIRONMENTS, built, had

import isopod
from isopod.demo import frameworks, reference

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(900)]

MODELS = Path(__file__).resolve().parent.parent / "models"
DEMO = Path(frameworks.__file__).resolve().parent / "models"

# Two that cannot be one, the Python on which that is tried, and a word of the resolver's reason. Of the last four it
# is the packages themselves that exclude each other; of the first two, the only Pythons that they have wheels for.
BOTH = [
    ("tensorflow 1.15.5", "tensorflow 2.21", "3.7", "tensorflow-cpu"),
    ("tensorflow 1.15.5", "tensorflow 2.21", "3.11", "tensorflow==1.15.5"),
    ("tensorflow 2.12.1", "tensorflow 2.15.1", "3.11", "tensorflow-cpu==2.12.1 and tensorflow-cpu==2.15.1"),
    ("tensorflow 2.12.1", "torch 2.13.0", "3.11", "typing-extensions>=3.6.6,<4.6.0"),
    ("torch 1.12.1", "torch 2.13.0", "3.10", "torch==1.12.1 and torch==2.13.0"),
    ("scikit-learn 1.2.2", "scikit-learn 1.9.1", "3.11", "scikit-learn==1.2.2 and scikit-learn==1.9.1"),
]
REFUSED = "No solution found when resolving dependencies"


@pytest.mark.parametrize(
    ("one", "other", "python", "why"), BOTH, ids=[f"{one}, {other}, {p}" for one, other, p, _ in BOTH]
)
def test_the_resolver_refuses_both_in_one(
    one: str, other: str, python: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (one, other):
        had(name)  # each alone is there
    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path))  # nothing is left in the user's
    wanted = [*ENVIRONMENTS[one].requirements, *ENVIRONMENTS[other].requirements]
    both = isopod.Env(wanted, python=python, from_source=ENVIRONMENTS[one].from_source)
    with pytest.raises(isopod.EnvironmentBuildError) as caught:
        isopod.load(f"{MODELS / 'basic.py'}:double", env=both).close()
    _, refused, reason = " ".join(str(caught.value).split()).partition(REFUSED)
    assert refused, str(caught.value)
    assert why in reason
    assert "we can conclude that your requirements are unsatisfiable" in reason


def test_what_the_resolver_lets_through_fails_at_import(tmp_path: Path) -> None:
    """scikit-learn 1.2.2 asks for a numpy, and does not say which: that it is none after 1 is told by its import."""
    file = tmp_path / "versions.py"
    file.write_text(
        "import numpy, sklearn.tree\ndef versions():\n    return {'v': [numpy.__version__, sklearn.__version__]}\n"
    )
    had("scikit-learn 1.2.2")
    with_two = isopod.Env(["scikit-learn==1.2.2", "numpy>=2"], python="3.11")
    built("scikit-learn 1.2.2 with numpy 2", with_two)
    with isopod.load(f"{file}:versions", env=ENVIRONMENTS["scikit-learn 1.2.2"]) as model:
        assert [version.rpartition(".")[0] for version in model()["v"]] == ["1.26", "1.2"]
        with pytest.raises(isopod.ModelError, match=r"numpy\.dtype size changed") as caught:
            isopod.load(f"{file}:versions", env=with_two).close()
        assert caught.value.type_name == "ValueError"
        assert len(model()["v"]) == 2


# The demo's file, where it is run, the error, and its words. Where each runs well is the demo's own test.
CODE = [
    ("net_tf1.py", "tensorflow 2.21", "AttributeError", "module 'tensorflow' has no attribute 'contrib'"),
    ("net_tf2.py", "tensorflow 1.15.5", "ModuleNotFoundError", "No module named 'keras'"),
    ("net_torch1.py", "torch 2.13.0", "RuntimeError", "symeig"),
    ("net_torch2.py", "torch 1.12.1", "AttributeError", "module 'torch' has no attribute 'func'"),
]


@pytest.mark.parametrize(("file", "version", "error", "words"), CODE, ids=[row[0] for row in CODE])
def test_code_of_one_version_does_not_run_in_another(
    file: str, version: str, error: str, words: str, tmp_path: Path
) -> None:
    had(version)
    weights = tmp_path / "weights.npz"
    reference.save(reference.weights(), weights)
    with pytest.raises(isopod.ModelError) as caught:
        isopod.load(f"{DEMO / file}:Net", env=ENVIRONMENTS[version], args={"weights": str(weights)}).close()
    assert caught.value.type_name == error
    assert words in caught.value.remote_message


@pytest.mark.parametrize("turned", [False, True], ids=["new after old", "old after new"])
def test_one_process_does_not_import_two_tensorflows(turned: bool) -> None:
    names = ["tensorflow 2.12.1", "tensorflow 2.15.1"]
    own, other = reversed(names) if turned else names
    had(own)
    args = {"folder": str(had(other).site_dirs[0]), "own": False}
    target = f"{MODELS / 'two_tensorflows.py'}:Second"
    with isopod.load(target, env=ENVIRONMENTS[own], args=args) as model:  # the other alone: it can be had in this way
        answer = model(x=np.zeros(3, np.float32))
        assert answer["y"].tolist() == [1, 1, 1]
        assert other.endswith(answer["version"])
    with pytest.raises(isopod.ModelError) as caught:
        isopod.load(target, env=ENVIRONMENTS[own], args={**args, "own": True}).close()
    assert caught.value.type_name == "ImportError"
    assert "undefined symbol" in caught.value.remote_message
