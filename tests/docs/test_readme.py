"""The README's examples, typed in as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pythons import need
from repository import ROOT

import isopod

BLOCK = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TOML = re.compile(r"^```toml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def written() -> dict[str, str]:
    return dict(BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")))


def printed(folder: Path, more: str = "") -> list[str]:
    """What the first example prints, with ``more`` behind its application."""
    files = written()
    (folder / "digits.py").write_text(files["digits.py"], encoding="utf-8")
    (folder / "app.py").write_text(files["app.py"] + more, encoding="utf-8")
    done = subprocess.run([sys.executable, "app.py"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.network
def test_the_first_example_runs_as_written(tmp_path: Path) -> None:
    need("3.11")
    assert len(written()["app.py"].strip().splitlines()) <= 10
    first, second = printed(tmp_path)
    assert re.fullmatch(r"1\.2\.2 \[\d \d \d\]", first)
    assert re.fullmatch(r"1\.9\.1 \[\d \d \d\]", second)


@pytest.mark.slow
@pytest.mark.network
def test_what_the_first_example_loads_is_packed_as_written(tmp_path: Path) -> None:
    need("3.11")
    (packing,) = (text for text in PYTHON.findall((ROOT / "README.md").read_text(encoding="utf-8")) if "pack(" in text)
    _, loaded, packed = printed(tmp_path, f'{packing}print(*model(images=images).values(), sep="; ")\n')
    version, labels = loaded.split(maxsplit=1)
    assert packed == f"{labels}; {version}"


def test_a_model_says_where_it_runs_as_written(tmp_path: Path) -> None:
    (tmp_path / "scorer.py").write_text(written()["scorer.py"], encoding="utf-8")
    env = isopod.Env.script(tmp_path / "scorer.py", unset=["API_TOKEN"])
    assert env == isopod.Env(["scikit-learn==1.2.2", "numpy<2"], python="==3.11.*", unset=["API_TOKEN"])


def test_a_projects_file_is_read_as_written(tmp_path: Path) -> None:
    (block,) = (
        text for text in TOML.findall((ROOT / "README.md").read_text(encoding="utf-8")) if "[environments" in text
    )
    (tmp_path / "isopod.toml").write_text(block, encoding="utf-8")
    assert isopod.Env.from_toml(tmp_path / "isopod.toml", "old") == isopod.Env(
        ["scikit-learn==1.2.2", "numpy<2"], python="3.11", exclude_newer="2026-02-28", warm=["sklearn.neighbors"]
    )
    assert isopod.Env.from_toml(tmp_path / "isopod.toml", "theirs") == isopod.Env.existing(
        tmp_path.parent / "their-venv", threads=2, devices="cpu", variables={"TF_CPP_MIN_LOG_LEVEL": "3"}
    )


def test_a_problem_is_read_as_written(tmp_path: Path) -> None:
    (block,) = (text for text in TOML.findall((ROOT / "README.md").read_text(encoding="utf-8")) if "[[inputs]]" in text)
    (tmp_path / "detector.toml").write_text(block, encoding="utf-8")
    problem = isopod.Problem.from_toml(tmp_path / "detector.toml")
    assert [item.name for item in problem.inputs] == ["image", "threshold"]
    assert [item.name for item in problem.outputs] == ["boxes"]


def test_a_model_that_looks_stops_as_written(tmp_path: Path) -> None:
    (tmp_path / "denoiser.py").write_text(written()["denoiser.py"], encoding="utf-8")
    image = np.ones((4, 4))
    with isopod.load(tmp_path / "denoiser.py:Denoiser", grace=60) as model:
        assert model(image=image, steps=3)["steps"] == 3
        pid = model.health.pid
        with pytest.raises(isopod.WorkerTimeout, match="its worker goes on"):
            model(image=image, steps=2**60, timeout=0.2)
        future = model.submit(image=image, steps=2**60)
        while not future.running():
            os.sched_yield()
        assert not future.cancel()
        assert future.result(60)["steps"] < 2**60
        assert model(image=image, steps=1)["steps"] == 1
        assert model.health.pid == pid
