"""``isopod demo --full``: each framework's answer against numpy's; and what it says of one that is wrong or absent."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from demo.command import isopod

import isopod as library
from isopod.cli.screen import Screen
from isopod.demo import frameworks, reference

NAMES = [framework.name for framework in frameworks.frameworks()]

RIGHT = """
import numpy as np
class Net:
    def __init__(self, weights):
        given = np.load(weights)
        self.kernel, self.bias, self.dense = given["kernel"], given["bias"], given["dense"]
    def __call__(self, *, images):
        out = []
        for image in images[..., 0]:
            places = [(y, x) for y in range(10) for x in range(10)]
            rows = [(image[y:y+3, x:x+3, None] * self.kernel[:, :, 0]).sum((0, 1)) for y, x in places]
            logits = np.maximum(np.array(rows) + self.bias, 0).ravel() @ (self.dense / np.linalg.norm(self.dense, 2))
            out.append(np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum())
        return {"chances": np.array(out)}
"""
WRONG = {
    "uniform": "np.full((len(images), 10), 0.1)",
    "another shape": "np.full((len(images), 9), 0.1)",
    "not a number": "np.full((len(images), 10), np.nan)",
}


def ask(file: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the demo with two models in this very environment, of which the second is ours."""
    monkeypatch.setenv("ISOPOD_HOME", str(file.parent / "home"))
    good, other = file.with_name("good.py"), file
    good.write_text(RIGHT, encoding="utf-8")
    other.write_text(source, encoding="utf-8")
    here = library.Env.current()
    both = [frameworks.Framework(name, str(path), "numpy", here) for name, path in (("good", good), ("other", other))]
    monkeypatch.setattr(frameworks, "frameworks", lambda: both)
    return frameworks.run(Screen())


def test_right_answers_are_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(tmp_path / "other.py", RIGHT, monkeypatch) == 0
    assert "✓ 2 of 2 gave numpy's answer, on 64 images" in capsys.readouterr().out


@pytest.mark.parametrize("answer", WRONG.values(), ids=list(WRONG))
def test_a_wrong_answer_is_not_zero(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = RIGHT.replace("np.array(out)", answer)
    assert ask(tmp_path / "other.py", source, monkeypatch) == 1
    assert "✗ other is wrong: it is off by" in (text := capsys.readouterr().out)
    assert "good is wrong" not in text


def test_one_that_does_not_run_is_not_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(tmp_path / "other.py", "raise ImportError('no such framework')", monkeypatch) == 1
    text = capsys.readouterr().out
    assert "✗ other   does not run:" in text
    assert "no such framework" in text
    assert "✓ 1 of 1 gave numpy's answer" in text


def test_the_reference_is_a_convolution() -> None:
    """By hand: a kernel that picks the middle pixel, and a dense layer that adds up each filter."""
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[1, 1, 0] = [1, -1]
    dense = np.tile(np.eye(2, dtype=np.float32), (100, 1))
    image = np.zeros((1, 12, 12, 1), np.float32)
    image[0, 5, 5] = 20
    chances = reference.chances(image, {"kernel": kernel, "bias": np.zeros(2, np.float32), "dense": dense})
    # the norm of 100 stacked identities is 10; the negative filter is cut by the ReLU
    np.testing.assert_allclose(chances, [[np.exp(2) / (np.exp(2) + 1), 1 / (np.exp(2) + 1)]])


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One run for all tests below, with the user's own store: what was built before is not built again."""
    done = isopod("demo", "--full", cwd=tmp_path_factory.mktemp("empty"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_a_framework_gives_numpys_answer(name: str, said: str) -> None:
    left_out = re.search(rf"– {re.escape(name)} +is left out:\n    │ (.*)", said)
    if left_out:
        pytest.skip(f"{name}: {left_out[1]}")
    row = re.search(rf"^  {re.escape(name)} +(3\.\d+\.\d+) +(\S+) +(\d)e-(\d\d) ", said, re.MULTILINE)
    assert row is not None
    assert float(f"{row[3]}e-{row[4]}") < 1e-5
    assert f"✓ {name}" in said
    count = len(re.findall(r"^  ✓ (?:TensorFlow|PyTorch)", said, re.MULTILINE))
    assert f"{count} of {count} gave numpy's answer" in said
    assert max(len(line) for line in said.splitlines() if not line.startswith("    │")) <= 80
