"""``isopod pack`` and ``isopod inspect``, as a person and as a program use them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pods import neuropod_packages as packages

from isopod.cli.parser import main
from isopod.runtime.pods import cache
from isopod.runtime.pods.archive import Archive

X = np.arange(3, dtype=np.float32)


@pytest.fixture
def pod(tmp_path: Path, pod_home: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    (tmp_path / "net.py").write_text(
        "class Net:\n    def __init__(self, factor):\n        self.factor = factor\n"
        "    def __call__(self, x):\n        return {'y': x * self.factor}\n"
    )
    np.savez(tmp_path / "in.npz", x=X)
    np.savez(tmp_path / "out.npz", y=X * 3)
    command = [
        "pack", str(tmp_path / "net.pod"), f"{tmp_path / 'net.py'}:Net", "--arg", "factor=3",
        "--input", "x:float32:n", "--output", "y:float32:n",
        "--test", str(tmp_path / "in.npz"), "--expect", str(tmp_path / "out.npz"),
        "--description", "Multiplies", "--licence", "MIT", "--homepage", "https://example.org",
    ]  # fmt: skip
    assert main(command) == 0
    assert "net.pod" in capsys.readouterr().out
    return tmp_path / "net.pod"


def test_a_person_reads_it(pod: Path, pod_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(pod_home.rglob("*"))
    assert main(["inspect", str(pod), "--files"]) == 0
    text = capsys.readouterr().out
    for part in (
        "Net", "Multiplies", "python", "MIT", "https://example.org", "sha256:", "x  float32 (n)", "0/code/net.py",
        "every file is as the manifest says", "self-test test",
    ):  # fmt: skip
        assert part in text
    assert sorted(pod_home.rglob("*")) == before  # nothing was unpacked


def test_a_program_reads_it(pod: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(pod), "--json", "--test"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["verified"] is True
    assert facts["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["n"], "device": "GPU"}]
    assert facts["tests"] == [{"name": "test", "compared": True, "problem": ""}]
    assert facts["files"]["0/code/net.py"] > 0
    assert facts["bytes"] == pod.stat().st_size
    folder = packages.as_folder({name: _read(pod, name) for name in facts["files"]}, pod.with_name("folder"))
    assert main(["inspect", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == facts["digest"]


def _read(pod: Path, name: str) -> bytes:
    archive = Archive(pod)
    try:
        with archive.open(name) as stream:
            return stream.read()
    finally:
        archive.close()


def test_only_what_it_needs_is_read(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = Archive.open

    def counted(self: Archive, name: str) -> object:
        read.append(name)
        return real(self, name)

    monkeypatch.setattr(Archive, "open", counted)
    assert main(["inspect", str(pod), "--no-verify"]) == 0
    assert set(read) == {"config.json", "0/config.json", "isopod.toml", "examples/test.json"}


def test_a_self_test_that_fails(pod: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["config.json", "0/config.json", "0/code/isopod_entry.py", "0/code/__init__.py", "0/code/net.py",
             "examples/test.json", "examples/test.npz"]  # fmt: skip
    files = {name: _read(pod, name) for name in names}
    files["0/code/net.py"] = files["0/code/net.py"].replace(b"x * self", b"x + self")
    changed = packages.as_folder(files, pod.with_name("changed"))
    assert main(["inspect", str(changed), "--test"]) == 1
    text = capsys.readouterr().out
    assert "self-test test" in text
    assert "2 of 3 values differ" in text or "3 of 3 values differ" in text
    assert "it has no manifest" in text


def test_a_pod_that_is_not_whole(pod: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = packages.with_manifest(packages.addition())
    broken = packages.as_zip({**files, "0/code/addition_model.py": b"evil"}, pod.with_name("broken.zip"))
    assert main(["inspect", str(broken)]) == 1
    assert "'0/code/addition_model.py' is not what the manifest says" in capsys.readouterr().out.replace("\n", " ")
    pod.write_bytes(pod.read_bytes()[:-30])
    assert main(["inspect", str(pod)]) == 2
    assert "not whole" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--input", "x"], "is not NAME:DTYPE:DIMS"),
        (["--input", "x:float32:-1", "--output", "y:float32"], "the dimension -1"),
        (["--arg", "factor"], "is not NAME=VALUE"),
        (["--arg", "factor=three"], "is not JSON"),
        (["--test", "missing.npz"], "is not an npz"),
    ],
)
def test_what_cannot_be_packed(
    words: list[str], match: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text("def f(x): return {'y': x}\n")
    assert main(["pack", str(tmp_path / "x.pod"), f"{tmp_path / 'net.py'}:f", *words]) == 2
    assert match in capsys.readouterr().err
    assert not (tmp_path / "x.pod").exists()


def test_unpacked_pods_are_collected(
    pod: Path, pod_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ISOPOD_HOME", str(tmp_path / "home"))
    held = cache.had(pod)
    assert main(["env", "gc", "--unused-for", "0"]) == 0
    assert held.folder.exists()
    held.hold.release()
    assert main(["env", "gc", "--unused-for", "0", "--dry-run"]) == 0
    assert "1 would go" in capsys.readouterr().out
    assert main(["env", "gc", "--unused-for", "0"]) == 0
    assert not held.folder.exists()
