"""What the README and the docstrings say of problems, typed in as it stands."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from repository import ROOT

import isopod
from isopod import Input, Output, Problem, SpecError

NET = """
import numpy as np

class Net:
    def __call__(self, image, threshold=0.1):
        return {"boxes": np.full((len(image), 2, 4), threshold, np.float32)}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("net.py", "old.py", "new.py"):
        (tmp_path / name).write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def example(thing: Any) -> str:
    """The indented block after the ``::`` of a docstring."""
    lines = inspect.cleandoc(thing.__doc__).partition("::\n")[2].splitlines()
    block = [line for line in lines if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(block))


def test_the_problem_of_the_readme(folder: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```toml\n# (detector\.toml)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    (folder / found[1]).write_text(found[2])
    with isopod.load("net.py:Net", problem="detector.toml") as model:
        pixels = np.zeros((2, 480, 640, 3), np.uint8)
        assert model(image=pixels)["boxes"].max() == 0.5
        with pytest.raises(SpecError) as caught:
            model(image=pixels.astype("float64"))
    promised = re.search(r"# SpecError: (.*)\.\.\.\n", text)
    assert promised is not None
    assert promised[1] in str(caught.value)


def test_the_example_of_a_problem_runs(folder: Path) -> None:
    space: dict[str, Any] = {"isopod": isopod}
    exec(example(Problem), space)
    with space["model"] as model:
        assert model(image=np.zeros((3, 5, 5, 3), np.uint8))["boxes"].shape == (3, 2, 4)


def test_the_examples_of_inputs_and_outputs_run() -> None:
    for kind in (Input, Output):
        lines = example(kind).split("\n\n")[0]
        assert len(re.findall(r"^\w+\(", lines, re.MULTILINE)) == 2
        exec(lines, {"Input": Input, "Output": Output})


def test_the_example_of_compare_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = Input("image", "uint8", ("n", 4, 4, 3))
    Problem("net", inputs=[image], outputs=[Output("boxes", rtol=0)]).to_toml(folder / "net.toml")
    exec(example(isopod.compare), {"isopod": isopod})
    assert float(capsys.readouterr().out) > 0
