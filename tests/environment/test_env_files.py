"""Requirement files: read as pip reads them, built for real, and refused by file and line where they cannot be held."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from isopod.ipc.errors import EnvironmentBuildError, SpecError
from isopod.runtime.environment import Env, prepare
from isopod.runtime.environment.builder import freeze


def _write(folder: Path, **files: str) -> Path:
    """Write ``name_txt="…"`` as ``name.txt`` and return the first."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder / next(iter(files)).replace("_", ".")


def test_everything_that_pip_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOPOD_TEST_TOKEN", "me:secret")
    text = """\
# a comment, and then a byte order mark's worth of options
--index-url https://${ISOPOD_TEST_TOKEN}@host/simple --no-index
--extra-index-url=https://other/simple
-f links
-r more/other.txt
-cbounds.txt
Clash == 1.0  # the old one
needs-clash \\
  >=1.0, \\
  <2

name @ https://host/x#y.whl
"""
    file = _write(tmp_path, a_txt="\N{ZERO WIDTH NO-BREAK SPACE}" + text, bounds_txt="numpy<2\n-r more/deep.txt\n")
    _write(tmp_path / "more", other_txt="third; python_version > '3'", deep_txt="fourth<4")
    env = Env.from_file(file)
    assert env.requirements == (
        'third; python_version > "3"',
        "clash==1.0",
        "needs-clash<2,>=1.0",
        "name @ https://host/x#y.whl",
    )
    assert env.constraints == ("numpy<2", "fourth<4"), "what a file of constraints includes are constraints"
    assert env.index_url == "https://me:secret@host/simple"
    assert env.extra_index_urls == ("https://other/simple",)
    assert env.find_links == ((tmp_path / "links").as_uri(),)
    assert env.no_index
    assert "secret" not in repr(env)


def test_options_are_added_to_lists_and_replace_the_rest(tmp_path: Path) -> None:
    file = _write(tmp_path, a_txt="clash\n-i https://file/simple\n--extra-index-url https://one\n")
    env = Env.from_file(
        file, requirements=["mine"], index_url="https://code/simple", extra_index_urls=["https://two"], python="3.11"
    )
    assert env.requirements == ("clash", "mine")
    assert (env.index_url, env.extra_index_urls) == ("https://code/simple", ("https://one", "https://two"))
    assert env.python == "3.11"


def test_a_file_is_built_wherever_the_application_runs(
    machine: Path, index: Path, tmp_path: Path, make_wheel: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    (folder / "wheels").mkdir(parents=True)
    wheel = make_wheel(folder / "wheels", "mine", "1.0", {"mine.py": ""})
    text = f"./wheels/{wheel.name}\nclash\n-c bounds.txt\n--no-index\n-f {index}\n"
    file = _write(folder, a_txt=text, bounds_txt="clash<2\n")
    monkeypatch.chdir(tmp_path)
    prepared = prepare(Env.from_file("project/a.txt"))
    assert freeze(prepared.site_dirs[0]) == ["clash==1.0", "mine==1.0", "numpy==1.0"]
    file.write_text(text.replace("clash\n", "CLASH\n# another comment\n"), encoding="utf-8")
    assert prepare(Env.from_file(file)).cached, "the key is made of contents"
    (folder / "bounds.txt").write_text("clash>1\n", encoding="utf-8")
    other = prepare(Env.from_file(file))
    assert freeze(other.site_dirs[0])[0] == "clash==2.0"


def test_numpy_of_ours_is_told_of_with_the_constraints(machine: Path, index: Path, tmp_path: Path) -> None:
    file = _write(tmp_path, a_txt=f"clash\n-c bounds.txt\n--no-index\n-f {index}\n", bounds_txt="numpy>=7\n")
    with pytest.raises(EnvironmentBuildError, match="'numpy' was added by isopod") as caught:
        prepare(Env.from_file(file))
    assert "constraints: numpy>=7" in str(caught.value)
    assert not prepare(Env.from_file(_write(tmp_path, b_txt=f"clash\n--no-index\n-f {index}\n"))).cached


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("clash\n\n-e ./project\n", ["a.txt:3", "--editable", "build a wheel"]),
        ("--editable=./project\n", ["a.txt:1", "--editable"]),
        ("clash\n./project\n", ["a.txt:2", "./project", "uv build --wheel"]),
        ("clash \\\n  ==1.0 \\\n  --hash=sha256:00\n", ["a.txt:1", "--hash", "Env(lock=…)"]),
        ("--require-hashes\n", ["a.txt:1", "lock"]),
        ("old --no-binary old\n", ["a.txt:1", "--no-binary", "from_source"]),
        ("--no-binary :all:\n", ["a.txt:1", "--no-binary", "from_source"]),
        ("--pre\n", ["a.txt:1", "--pre", "leave it out"]),
        ("# \\\nnumpy=1\n", ["a.txt:2", "numpy=1"]),
        ("gone-1.0-py3-none-any.whl\n", ["a.txt:1", "there is no such wheel", "gone-1.0"]),
        ("-r gone.txt\n", ["gone.txt", "cannot be read"]),
        ("-r https://me:secret@host/a.txt\n", ["a.txt:1", "https://host/a.txt", "fetch it"]),
        ("-c\n", ["a.txt:1", "--constraint needs a value"]),
        ("-r a.txt\n", ["a.txt", "includes itself"]),
        ("-f 'open\n", ["a.txt:1", "No closing quotation"]),
    ],
)
def test_what_cannot_be_taken_over_is_named_by_file_and_line(tmp_path: Path, text: str, facts: list[str]) -> None:
    (tmp_path / "project").mkdir()
    with pytest.raises(SpecError) as caught:
        Env.from_file(_write(tmp_path, a_txt=text))
    for fact in facts:
        assert fact in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_wheel_by_its_url_or_beside_the_file(tmp_path: Path, make_wheel: Callable[..., Path]) -> None:
    wheel = make_wheel(tmp_path, "mine", "1.0", {"mine.py": ""})
    file = _write(tmp_path, a_txt=f"mine @ ./{wheel.name}\nhttps://host/wheels/other-2.0-py3-none-any.whl\n")
    assert Env.from_file(file).requirements == (
        f"mine @ {wheel.as_uri()}",
        "other @ https://host/wheels/other-2.0-py3-none-any.whl",
    )
