"""``isopod.toml``: read, written back equal, found as pyproject.toml is, and told of by file, line and nearest key."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isopod
from isopod import Env, SpecError, Threads
from isopod.runtime.environment import projects
from isopod.runtime.environment.fields import KINDS, RUN_TIME

WHOLE = """\
[environments.old]
requirements = [
    "Scikit_Learn == 1.2.2",  # the last that reads our pickles
    "numpy<2",
]
python = "3.11"
constraints = ["scipy<1.12"]
overrides = ["joblib==1.3"]
exclude-newer = 2024-02-29
index-url = "https://main/simple"
extra-index-urls = ["https://one/simple"]
find-links = ["wheels", "https://two/links"]
no-index = false
from-source = ["Old_One"]
allow-source = true
unset = ["API_TOKEN"]
threads = {within = 4, between = 2}
devices = ["cuda:1"]
warm = ["sklearn.neighbors"]

[environments.old.variables]
A = "1"

[environments."the other"]
existing = "venv"
threads = 2
devices = "cpu"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "isopod.toml").write_text(WHOLE, encoding="utf-8")
    return tmp_path / "isopod.toml"


def test_each_field_has_a_key() -> None:
    assert KINDS.keys() == {item.name for item in dataclasses.fields(Env)}
    assert KINDS.keys() > set(RUN_TIME)


def test_every_key_is_read(file: Path) -> None:
    assert Env.from_toml(file, "old", warm=["json"]) == Env(
        ["scikit-learn==1.2.2", "numpy<2"],
        python="3.11",
        constraints=["scipy<1.12"],
        overrides=["joblib==1.3"],
        exclude_newer="2024-02-29",
        index_url="https://main/simple",
        extra_index_urls=["https://one/simple"],
        find_links=[str(file.parent / "wheels"), "https://two/links"],
        from_source=["old-one"],
        allow_source=True,
        variables={"A": "1"},
        unset=["API_TOKEN"],
        threads=Threads(4, 2),
        devices=["cuda:1"],
        warm=["sklearn.neighbors", "json"],
    )
    other = Env.from_toml(str(file), "the other", threads=1)
    assert other == Env.existing(file.parent / "venv", threads=1, devices=())
    assert projects.names(file) == ["old", "the other"]


def test_a_lock_and_an_interpreter_lie_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "hashed.txt").write_text("numpy==1.0 --hash=sha256:00\n")
    (tmp_path / "pod.toml").write_text('[environment]\nlock = "hashed.txt"\npython = "bin/python"\n')
    env = Env.from_toml(tmp_path / "pod.toml")
    assert (env.lock, env.python) == (str(tmp_path / "hashed.txt"), str(tmp_path / "bin" / "python"))


def test_it_is_found_from_below_and_only_by_the_name_that_says_so(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert Env.project("old") == Env.from_toml(file, "old")
    with pytest.raises(SpecError, match="cannot be read"):
        Env.from_toml(name="old")
    (tmp_path / "a" / "isopod.toml").write_text("[environments.near]\n")
    assert Env.project() == Env()
    with pytest.raises(SpecError, match="no environment 'old'; it has near"):
        Env.project("old")
    with pytest.raises(SpecError, match=r"no environment at .*/a/b/old"):
        isopod.load("json:loads", env="old")
    with pytest.raises(SpecError, match=r"no isopod\.toml in /proc or a folder above it"):
        projects.find("/proc")


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("[environments.a]\nfind_links = []\n", [":2:", "environments.a has no 'find_links'", "'find-links'"]),
        ("[environments.b]\n[environments.a]\npyton = '3'\n", [":3:", "did you mean 'python'"]),
        ("[environments.a]\nzzz = 1\n[environments.b]\n", [":2:", "it has allow-source, ", "threads", "warm"]),
        ("[environments.b]\nwarm = ['x']\n[environments.a]\nwarm = 'x'\n", [":4:", "warm is not a list of strings"]),
        ("[environments.a]\nwarm = [1]\n", [":2:", "warm: 1 is not a string"]),
        ("[environments.a]\nrequirements = [\n 'numpy',\n 'numpy=1',\n]\n", [":4:", "'numpy=1'"]),
        ("[environments.a]\nno-index = 1\n", [":2:", "neither true nor false"]),
        ("[environments.a]\npython = 3.11\n", [":2:", "python: 3.11 is not a string"]),
        ("[environments.a]\nexclude-newer = 'soon'\n", [":2:", "soon"]),
        ("[environments.a]\nthreads = '4'\n", [":2:", "'4' is not a number of threads"]),
        ("[environments.a]\nthreads = 0\n", [":2:", "at least one"]),
        ("[environments.a]\nthreads = {between = 2}\n", [":2:", "within"]),
        ("[environments.a]\ndevices = [\n'gpu:0']\n", [":2:", "'gpu:0' is not a device"]),
        ("[environments.a]\ndevices = 1\n", [":2:", "neither a string"]),
        ("[environments.a]\nvariables = {A = 1}\n", [":2:", "variables: A: 1 is not a string"]),
        ("[environments.a.variables]\nA = 1\n", ["variables: A: 1 is not a string"]),
        ("[environments.a]\nvariables = 'A=1'\n", [":2:", "not a table of strings"]),
        ("[environment.a]\nwarm = []\n", ["environment has no 'a'"]),
        ("[environment]\n[models.a]\n", [":2:", "no table 'models'", "environment, environments"]),
        ("[environmens.a]\n", [":1:", "did you mean 'environments'"]),
        ("environments = 1\n", [":1:", "[environments.NAME]"]),
        ("[environments]\na = 1\n", [":2:", "environments.a is not a table"]),
        ("[environments.a]\n[environments.b]\n", ["has 2 environments: say which, of a, b"]),
        ("", ["has 0 environments: say which, of none"]),
        ("[environments.a\n", [":1:", "not TOML"]),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path: Path, text: str, facts: list[str]) -> None:
    file = tmp_path / "isopod.toml"
    file.write_text(text, encoding="utf-8")
    name = "a" if "environments" in text and "say which" not in facts[0] else None
    with pytest.raises(SpecError) as caught:
        Env.from_toml(file, name)
    for fact in [str(file), *facts]:
        assert fact in str(caught.value)


def test_a_name_that_is_almost_there(file: Path) -> None:
    with pytest.raises(SpecError, match="no environment 'odl'; did you mean 'old'"):
        Env.from_toml(file, "odl")


def test_a_script_says_its_run_time_part_in_the_same_words(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    head = '# /// script\n# dependencies = ["numpy"]\n# [tool.isopod]\n'
    file.write_text(f'{head}# threads = 2\n# devices = "cpu"\n# warm = ["numpy"]\n# variables = {{A = "1"}}\n# ///\n')
    assert Env.script(file, warm=["json"]) == Env(
        ["numpy"], threads=2, devices="cpu", warm=["numpy", "json"], variables={"A": "1"}
    )
    for line, said in (("thread = 2", "did you mean 'threads'"), ("find-links = []", "it has devices, threads, unset")):
        file.write_text(f"{head}# {line}\n# ///\n")
        with pytest.raises(SpecError, match=f"model.py:4: tool.isopod has no .*{said}"):
            Env.script(file)


def test_a_password_is_not_written(tmp_path: Path) -> None:
    for options in (
        {"index_url": "https://me:secret@host/simple"},
        {"requirements": ["clash @ https://me:secret@host/clash-1.0-py3-none-any.whl"]},
    ):
        with pytest.raises(SpecError, match="not for a file") as caught:
            Env(**options).to_toml()
        assert "secret" not in str(caught.value)
    with pytest.raises(SpecError, match="UTF-8"):
        Env(variables={"A": "\udcff"}).to_toml()


def test_what_is_written(tmp_path: Path) -> None:
    env = Env(["numpy<2"], threads=3, devices=[], variables={"A B": 'say "x"\n'}, allow_source=True)
    assert env.to_toml("the old") == (
        '[environments."the old"]\nrequirements = ["numpy<2"]\nallow-source = true\n'
        'variables = {"A B" = "say \\"x\\"\\n"}\nthreads = 3\ndevices = []\n'
    )
    assert Env.existing("/venv").to_toml() == '[environment]\nexisting = "/venv"\n'


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0="), min_size=1, max_size=8)
packages = st.lists(st.from_regex(r"[a-z]{1,8}(==[0-9]\.[0-9])?", fullmatch=True), max_size=3)
run_time: dict[str, st.SearchStrategy[Any]] = {
    "variables": st.dictionaries(names.map("V{}".format), text, max_size=3),
    "unset": st.lists(names.map("U{}".format), max_size=3),
    "threads": st.none() | st.integers(1, 64) | st.builds(Threads, st.integers(1, 9), st.integers(1, 9)),
    "devices": st.none() | st.just("cpu") | st.lists(st.integers(0, 9).map("cuda:{}".format), unique=True, max_size=3),
    "warm": st.lists(st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5})?", fullmatch=True), max_size=3),
}
built = st.fixed_dictionaries(
    {},
    optional={
        **run_time,
        "requirements": packages,
        "constraints": packages,
        "overrides": packages,
        "python": st.sampled_from(["3.11", ">=3.9,<3.12", "/opt/../opt/python"]),
        "exclude_newer": st.sampled_from(["2024-02-29", "2024-02-29T12:00:00+01:00"]),
        "index_url": st.sampled_from(["https://host/simple", "some folder"]),
        "extra_index_urls": st.lists(st.sampled_from(["https://host/é", "../here"]), max_size=2),
        "find_links": st.lists(st.sampled_from(["https://host/l", 'a "folder"', "~/wheels"]), max_size=2),
        "no_index": st.booleans(),
        "from_source": st.lists(st.sampled_from(["a", "B_c"]), max_size=2),
        "allow_source": st.booleans(),
    },
)


@settings(deadline=None)
@given(
    env=st.one_of(
        built.map(lambda options: Env(**options)),
        st.builds(
            lambda path, options: Env.existing(path, **options), names, st.fixed_dictionaries({}, optional=run_time)
        ),
    ),
    name=st.none() | text,
)
def test_what_is_written_reads_back_equal(tmp_path_factory: pytest.TempPathFactory, env: Env, name: str | None) -> None:
    file = tmp_path_factory.getbasetemp() / "isopod.toml"
    file.write_text(env.to_toml(name), encoding="utf-8", newline="")
    again = Env.from_toml(file, name)
    assert again == env
    assert again.to_toml(name) == env.to_toml(name)
