"""Inline script metadata (PEP 723): read, built, honoured by ``load``, and told of by file and line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import isopod
from isopod.ipc.errors import SpecError
from isopod.runtime.environment import Env, prepare
from isopod.runtime.environment.builder import freeze
from isopod.runtime.source import own_environment
from isopod.runtime.target import Target

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
MODEL = """\
class Model:
    def __call__(self):
        try:
            import clash
            found = clash.__version__
        except ImportError:
            found = "none"
        return {"found": found}
"""


def _script(file: Path, *lines: str, after: str = MODEL) -> Path:
    block = "".join(f"# {line}".rstrip() + "\n" for line in ("/// script", *lines, "///"))
    file.write_text(f"#!/usr/bin/env python\n{block}\n{after}", encoding="utf-8")
    return file


def test_a_block_is_taken_over(tmp_path: Path) -> None:
    file = _script(
        tmp_path / "model.py",
        'requires-python = ">=3.9"',
        "dependencies = [",
        '  "Clash ==1.0",',
        "",
        '  "numpy",',
        "]",
        "[tool.uv]",
        'exclude-newer = "2024-02-29T00:00:00Z"',
        'find-links = ["links"]',
        "no-index = true",
        'constraint-dependencies = ["needs-clash<2"]',
        'override-dependencies = ["clash==2.0"]',
        "[[tool.uv.index]]",
        'name = "one"',
        'url = "https://one/simple"',
        "[[tool.uv.index]]",
        'url = "https://main/simple"',
        "default = true",
        "[tool.other]",
        "anything = 1",
    )
    assert Env.script(file, warm=["clash"], requirements=["mine"]) == Env(
        ["clash==1.0", "numpy", "mine"],
        python=">=3.9",
        exclude_newer="2024-02-29T00:00:00Z",
        find_links=[str(tmp_path / "links")],
        no_index=True,
        constraints=["needs-clash<2"],
        overrides=["clash==2.0"],
        index_url="https://main/simple",
        extra_index_urls=["https://one/simple"],
        warm=["clash"],
    )
    assert Env.script(file, python=MINOR).python == MINOR


def test_a_block_of_another_type_is_no_block_and_an_empty_one_is_one(tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text("# /// pyproject\n# dependencies = []\n# ///\n", encoding="utf-8")
    with pytest.raises(SpecError, match="has no '# /// script' block") as caught:
        Env.script(other)
    assert str(other) in str(caught.value)
    assert Env.script(_script(tmp_path / "empty.py")) == Env()


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("# /// script\n# dependencies = []\n", ["model.py:1", "not closed"]),
        ("\n# /// script\n# dependencies = [\n#]\n# ///\n", ["model.py:2", "not closed"]),
        ("# /// script\n# ///\n\n# /// script\n# ///\n", ["model.py:4", "second", "line 1"]),
        ("# /// script\n# ///\n# /// script\n# ///\n", ["model.py:3", "second", "line 1"]),
        ("#\n# /// script\n# dependencies = []\n# dependencies = [\n# ///\n", ["model.py:4", "not TOML"]),
        ("# /// script\n# dependencies = ['clash', 'numpy=1']\n# ///\n", ["model.py:2", "numpy=1", "requirement"]),
        ("# /// script\n# dependencies = 'clash'\n# ///\n", ["model.py:2", "not a list of strings"]),
        ("# /// script\n# dependencies = [1]\n# ///\n", ["model.py:2", "not a string"]),
        ("# /// script\n# requires-python = 'three'\n# ///\n", ["model.py:2", "three"]),
        ("# /// script\n# dependancies = []\n# ///\n", ["model.py:2", "no dependancies"]),
        ("# /// script\n# [tool.uv]\n# exclude-newer = 'soon'\n# ///\n", ["model.py:3", "soon"]),
        (
            "# /// script\n# [tool.uv.sources]\n# clash = {path = 'x'}\n# ///\n",
            ["model.py:2", "tool.uv.sources", "env="],
        ),
        (
            "# /// script\n# [[tool.uv.index]]\n# url = 'https://x'\n# explicit = true\n# ///\n",
            ["model.py:4", "explicit"],
        ),
        ("# /// script\n# [[tool.uv.index]]\n# name = 'x'\n# ///\n", ["model.py:2", "url"]),
        ("# coding: nonsense\n# /// script\n# ///\n", ["model.py", "nonsense"]),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path: Path, text: str, facts: list[str]) -> None:
    file = tmp_path / "model.py"
    file.write_text(text, encoding="utf-8")
    for attempt in (lambda: Env.script(file), lambda: isopod.load(f"{file}:Model")):
        with pytest.raises(SpecError) as caught:
            attempt()
        for fact in facts:
            assert fact in str(caught.value)


def _needs(index: Path, *packages: str) -> list[str]:
    wanted = ", ".join(f'"{item}"' for item in packages)
    return [f'requires-python = "=={MINOR}.*"', f"dependencies = [{wanted}]", "[tool.uv]", "no-index = true",
            f'find-links = ["{index}"]']  # fmt: skip


def test_a_script_is_built(machine: Path, index: Path, tmp_path: Path) -> None:
    file = _script(tmp_path / "model.py", *_needs(index, "needs-clash"))
    prepared = prepare(Env.script(file))
    assert freeze(prepared.site_dirs[0]) == ["clash==1.0", "needs-clash==1.0", "numpy==1.0"]
    assert prepared.key == prepare(Env(["Needs_Clash"], find_links=[str(index)], no_index=True)).key


def test_a_model_runs_where_its_file_says(machine: Path, borrowed: Path, tmp_path: Path) -> None:
    file = _script(tmp_path / "model.py", *_needs(borrowed, "clash==1.0"))
    with isopod.load(f"{file}:Model") as model:
        assert model()["found"] == "1.0"
        second = _script(tmp_path / "second.py", *_needs(borrowed, "clash==2.0"))
        model.reload(f"{second}:Model")
        assert model()["found"] == "2.0"
        _script(second, *_needs(borrowed, "clash==1.0"))
        model.reload()
        assert model()["found"] == "1.0", "the same file, and what it says now"
        (tmp_path / "plain.py").write_text(MODEL, encoding="utf-8")
        model.reload(f"{tmp_path / 'plain.py'}:Model")
        assert model()["found"] == "none"
        with pytest.raises(SpecError, match=r"model 'Model': .*broken\.py:1: .*not closed"):
            model.reload(f"{_broken(tmp_path)}:Model")
        assert model()["found"] == "none"


def test_an_environment_that_was_named_stays(machine: Path, borrowed: Path, tmp_path: Path) -> None:
    first = _script(tmp_path / "first.py", *_needs(borrowed, "clash==1.0"))
    env = Env(["clash==2.0"], find_links=[str(borrowed)], no_index=True)
    with isopod.load(f"{first}:Model", env=env) as model:
        assert model()["found"] == "2.0"
        model.reload(f"{_script(tmp_path / 'second.py', *_needs(borrowed, 'clash==1.0'))}:Model")
        assert model()["found"] == "2.0"
    with isopod.load(f"{first}:Model", python=sys.executable) as model:
        assert model()["found"] == "none"


def _broken(folder: Path) -> Path:
    (folder / "broken.py").write_text("# /// script\n" + MODEL, encoding="utf-8")
    return folder / "broken.py"


def test_a_module_and_a_file_that_cannot_be_read_are_as_ever(tmp_path: Path) -> None:
    assert own_environment(Target.parse("json:loads")) == Env.current()
    file = tmp_path / "latin.py"
    file.write_bytes(b"# caf\xe9\nclass Model: pass\n")
    assert own_environment(Target.parse(f"{file}:Model")) == Env.current()
