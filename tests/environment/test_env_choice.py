"""What else narrows or widens an environment: constraints, overrides, a date, source, and the variables at run time."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import isopod
from isopod.ipc.errors import EnvironmentBuildError, SpecError
from isopod.runtime.environment import Env, prepare
from isopod.runtime.environment.builder import freeze
from isopod.runtime.environment.dates import instant
from isopod.runtime.sandbox.variables import worker_variables

MODEL = "import os\ndef look(name):\n    return {'found': os.environ.get(name, 'nothing')}\n"


def _frozen(env: Env) -> list[str]:
    return freeze(prepare(env).site_dirs[0])


def _env(index: Path, *requirements: str, **options: object) -> Env:
    return Env(requirements, find_links=[str(index)], no_index=True, **options)  # type: ignore[arg-type]


def test_constraints_narrow_and_install_nothing(machine: Path, index: Path) -> None:
    assert _frozen(_env(index, "clash", constraints=["clash<2", "needs-clash==1.0"])) == ["clash==1.0", "numpy==1.0"]
    with pytest.raises(EnvironmentBuildError, match=r"constraints: clash<2") as caught:
        prepare(_env(index, "clash==2.0", constraints=["Clash <2"]))
    assert "unsatisfiable" in str(caught.value)


def test_overrides_replace_what_packages_ask_for(machine: Path, index: Path) -> None:
    env = _env(index, "needs-clash", overrides=["clash==2.0"])
    assert _frozen(env) == ["clash==2.0", "needs-clash==1.0", "numpy==1.0"]


@pytest.mark.parametrize(("field", "variable"), [("constraints", "UV_CONSTRAINT"), ("overrides", "UV_OVERRIDE")])
def test_the_users_own_files_of_them_still_hold(
    machine: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, variable: str
) -> None:
    bounds = tmp_path / "bounds.txt"
    bounds.write_text("clash==1.0\n", encoding="utf-8")
    monkeypatch.setenv(variable, str(bounds))
    assert _frozen(_env(index, "clash", **{field: ["numpy==1.0"]})) == ["clash==1.0", "numpy==1.0"]


def test_a_password_in_them_is_not_shown(machine: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    url = "clash @ https://me:hunter2@127.0.0.1:9/clash-1.0-py3-none-any.whl"
    env = _env(index, "clash", constraints=[url], overrides=[url])
    with pytest.raises(EnvironmentBuildError, match="127") as caught:
        prepare(env)
    assert "hunter2" not in str(caught.value) + repr(env)
    assert all(b"hunter2" not in file.read_bytes() for file in machine.rglob("*") if file.is_file())


def test_equal_specs_have_one_key(machine: Path, index: Path) -> None:
    first = prepare(
        _env(index, "Clash", "needs_clash >=1, <2", constraints=["A<1", "b"], overrides=["Clash== 1.0", "c"])
    )
    for same in (
        _env(index, "needs-clash<2,>=1", "clash", "clash", constraints=["b", "a <1"], overrides=["c", "clash==1.0"]),
        _env(
            index, "CLASH", "Needs.Clash<2,>=1", constraints=["B", "a<1"], overrides=["C", "clash==1.0"],
            variables={"A": "1"}, unset=["B"],
        ),
    ):  # fmt: skip
        assert (prepare(same).key, prepare(same).cached) == (first.key, True)


def test_what_differs_has_another_key(machine: Path, index: Path) -> None:
    specs = [
        _env(index, "clash"),
        _env(index, "clash", constraints=["clash"]),
        _env(index, "clash", overrides=["clash"]),
        _env(index, "clash", allow_source=True),
        _env(index, "clash", exclude_newer="2024-02-29"),
        _env(index, "clash", exclude_newer="2024-03-01"),
    ]
    assert len({prepare(env).key for env in specs}) == len(specs)
    same = prepare(_env(index, "clash", exclude_newer="2024-03-01t02:00:00+02:00"))
    assert same.key == prepare(specs[4]).key, "one instant, written in two ways"


class _Dated(BaseHTTPRequestHandler):
    """A package index that says when each file was uploaded (PEP 691, PEP 700)."""

    folder: Path

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if name.endswith(".whl"):
            self._answer((self.folder / name).read_bytes(), "application/octet-stream")
            return
        package = self.path.strip("/").rpartition("/")[2].replace("-", "_")
        files = [
            {"filename": file.name, "url": f"/files/{file.name}", "hashes": {}, "upload-time": _uploaded(file)}
            for file in sorted(self.folder.glob(f"{package}-*.whl"))
        ]
        page = {"meta": {"api-version": "1.1"}, "name": package, "versions": [], "files": files}
        self._answer(json.dumps(page).encode(), "application/vnd.pypi.simple.v1+json")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  (the name is the base's)
        pass


def _uploaded(file: Path) -> str:
    return "2024-02-29T12:00:00Z" if "-2.0-" in file.name else "2020-01-01T00:00:00Z"


@pytest.fixture
def dated(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    _Dated.folder = index
    with ThreadingHTTPServer(("127.0.0.1", 0), _Dated) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("date", "version"),
    [
        ("2024-02-28", "1.0"),
        ("2024-02-29", "2.0"),  # a day counts as a whole
        ("2024-02-29T11:59:59Z", "1.0"),
        ("2024-02-29T08:00:00-05:00", "2.0"),
    ],
)
def test_what_is_newer_than_the_date_does_not_count(machine: Path, dated: str, date: str, version: str) -> None:
    assert _frozen(Env(["clash"], index_url=dated, exclude_newer=date)) == [f"clash=={version}", "numpy==1.0"]


def test_the_date_of_the_spec_wins(machine: Path, dated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2021-01-01")
    assert _frozen(Env(["clash"], index_url=dated))[0] == "clash==1.0"
    assert _frozen(Env(["clash"], index_url=dated, exclude_newer="2025-01-01"))[0] == "clash==2.0"


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2024-02-28", "2024-02-29T00:00:00Z"),
        ("2023-12-31T23:59:59.5Z", "2023-12-31T23:59:59.500000Z"),
        ("2024-01-01T00:30:00+01:00", "2023-12-31T23:30:00Z"),
        ("yesterday", None),
        ("2024-02-30", None),
        ("2024-02-29T12:00:00", None),  # in which zone?
        ("9999-12-31", None),
        ("", None),
    ],
)
def test_dates(text: str, means: str | None) -> None:
    if means is not None:
        assert instant(text) == means
        return
    with pytest.raises(SpecError, match="exclude_newer") as caught:
        Env(exclude_newer=text)
    assert repr(text) in str(caught.value)


def test_anything_may_be_built_from_source_where_that_was_allowed(
    machine: Path, index: Path, tmp_path: Path, make_wheel: Callable[..., Path], write_sdist: Callable[..., None]
) -> None:
    write_sdist(tmp_path, make_wheel(tmp_path, "old", "1.0", {"old.py": ""}))
    options = {"find_links": [str(index), str(tmp_path)], "no_index": True}
    with pytest.raises(EnvironmentBuildError, match="allow_source=True"):
        prepare(Env(["old"], **options))  # type: ignore[arg-type]
    prepared = prepare(Env(["old"], allow_source=True, **options))  # type: ignore[arg-type]
    assert freeze(prepared.site_dirs[0]) == ["numpy==1.0", "old==1.0"]


def test_what_is_unset_does_not_reach_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.py").write_text(MODEL, encoding="utf-8")
    for name in ("ISOPOD_TEST_KEPT", "ISOPOD_TEST_TOKEN", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "7")
    env = Env.current(unset=["ISOPOD_TEST_TOKEN", "ISOPOD_TEST_ABSENT", "OMP_NUM_THREADS"], variables={"MINE": "1"})
    with isopod.load(f"{tmp_path / 'model.py'}:look", env=env, sandbox="none") as model:
        found = {name: model(name=name)["found"] for name in ("ISOPOD_TEST_KEPT", "ISOPOD_TEST_TOKEN", "MINE")}
        assert found == {"ISOPOD_TEST_KEPT": "7", "ISOPOD_TEST_TOKEN": "nothing", "MINE": "1"}
        assert model(name="OMP_NUM_THREADS")["found"] == "nothing"
    with isopod.load(f"{tmp_path / 'model.py'}:look", env=env, threads=2) as model:
        assert model(name="OMP_NUM_THREADS")["found"] == "2", "it is not inherited, but set for the worker itself"
    assert os.environ["ISOPOD_TEST_TOKEN"] == "7"
    assert "MINE" not in worker_variables({"MINE": "1"}, {"MINE": None})


def test_what_is_unset_does_not_reach_the_warm_import(
    machine: Path, index: Path, tmp_path: Path, make_wheel: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOPOD_TEST_TOKEN", "7")
    picky = "import os\nassert 'ISOPOD_TEST_TOKEN' not in os.environ, 'it is there'\n"
    wheel = make_wheel(tmp_path, "picky", "1.0", {"picky.py": picky})
    with pytest.raises(EnvironmentBuildError, match="it is there"):
        prepare(_env(index, str(wheel), warm=["picky"]))
    assert not prepare(_env(index, str(wheel), warm=["picky"], unset=["ISOPOD_TEST_TOKEN"])).cached


def test_they_print_as_they_are_written(tmp_path: Path) -> None:
    specs = [
        Env(),
        Env(["clash"], python="3.11", constraints=["a<1"], overrides=["b"], exclude_newer="2024-02-29"),
        Env(allow_source=True, from_source=["old"], no_index=True, find_links=[str(tmp_path)], unset=["B", "A"]),
        Env.existing(tmp_path, unset=["A"]),
    ]
    for env in specs:
        assert eval(repr(env), {"Env": Env}) == env
    secret = Env(index_url="https://me:secret@host/simple", variables={"API_TOKEN": "secret"})
    assert repr(secret) == "Env(index_url='https://host/simple', variables={'API_TOKEN': ...})"
    with pytest.raises(SpecError, match=re.escape("'API_TOKEN': Ellipsis")):
        eval(repr(secret), {"Env": Env})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"unset": "HOME"}, "HOME"),
        ({"unset": ["A=B"]}, "A=B"),
        ({"unset": ["A"], "variables": {"A": "1"}}, "both in variables and in unset"),
        ({"constraints": ["numpy=1"]}, "numpy=1"),
        ({"overrides": "numpy"}, "numpy"),
        ({"location": "/venv", "exclude_newer": "2024-02-29"}, "exclude_newer"),
        ({"location": "/venv", "constraints": ["numpy"]}, "constraints"),
        ({"requirements": ["./folder"]}, "uv build --wheel"),
        ({"requirements": ["dist/old-1.0.tar.gz"]}, "uv build --wheel"),
    ],
)
def test_wrong_values_are_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(SpecError) as caught:
        Env(**options)  # type: ignore[arg-type]
    assert named in str(caught.value)
