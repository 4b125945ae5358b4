"""What can be asked for, what a worker inherits, and what is refused before anything is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import isopod
from isopod import Sandbox, SpecError
from isopod.runtime.sandbox import sandbox
from isopod.runtime.sandbox.variables import inherits, worker_variables

MODEL = "def double(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"profile": "paranoid"}, "there is no sandbox 'paranoid'; there are 'none', 'limits', 'strict'"),
        ({"profile": "limits", "scratch": 1}, "scratch and readable are for 'strict'"),
        ({"profile": "none", "readable": ["/usr"]}, "scratch and readable are for 'strict'"),
        ({"profile": "strict", "namespaces": "maybe"}, "namespaces is 'auto', 'required' or 'off', not 'maybe'"),
        ({"profile": "limits", "namespaces": "required"}, "namespaces are for 'strict'"),
        ({"profile": "strict", "readable": "/usr"}, "readable is a list of paths"),
        ({"profile": "strict", "readable": ["/"]}, "is everything"),
        ({"profile": "strict", "readable": ["/nowhere/at/all"]}, "/nowhere/at/all, which does not exist"),
        ({"profile": "strict", "scratch": -1}, "scratch is a number of at least 0, not -1"),
        ({"max_files": 3}, "max_files is a number of at least 64"),
        ({"max_file_size": 1.5}, "max_file_size is a number"),
        ({"profile": "limits", "allow_subprocess": True}, "allow_subprocess is for 'strict', and needs namespaces"),
        ({"profile": "strict", "allow_subprocess": True, "namespaces": "off"}, "needs namespaces"),
        ({"profile": "strict", "max_processes": 1}, "max_processes is a number of at least 8, not 1"),
        ({"nice": -1}, "nice is a number from 0 to 19, not -1"),
        ({"nice": 20}, "nice is a number from 0 to 19, not 20"),
        ({"nice": True}, "nice is a number from 0 to 19, not True"),
        ({"profile": "none", "nice": 5}, "nice is for 'limits' and 'strict'"),
        ({"address_space": 1 << 20}, "address_space is a number of at least 268435456"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, object], fact: str) -> None:
    with pytest.raises(SpecError) as caught:
        Sandbox(**options)  # type: ignore[arg-type]
    assert fact in str(caught.value)


def test_processes_need_namespaces() -> None:
    box = Sandbox("strict", allow_subprocess=True)
    assert box.namespaces == "required"
    assert box.order(1 << 30, namespaces=True)["processes"] == 256
    assert box.limits(1 << 30)["file_size"] == 1 << 20, "its semaphores are files"


def test_a_strict_model_has_no_gpu_and_is_told_so_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "double.py").write_text(MODEL)
    environment = isopod.Env(["no-such-package-at-all==1"])  # which would be an error of its own, were it looked for
    with pytest.raises(SpecError, match=r"model 'double': a strict model has no GPU, so device='cuda:0' cannot be"):
        isopod.load(tmp_path / "double.py:double", env=environment, sandbox="strict", device="cuda:0")
    Sandbox("strict").check_device("cpu")
    Sandbox("limits").check_device("cuda:0")


def test_a_name_is_short_for_a_sandbox() -> None:
    assert sandbox("strict") == Sandbox("strict")
    assert Sandbox().profile == "limits"
    with pytest.raises(SpecError, match=r"a profile's name or an isopod\.Sandbox"):
        sandbox(3)  # type: ignore[arg-type]


def test_neither_model_nor_environment_nor_interpreter_is_a_whole_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    for folder in (tmp_path / "home" / "me", tmp_path / "home", Path("/tmp")):
        for what in ("file", "environment", "interpreter"):
            if folder == Path("/tmp"):
                monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
            with pytest.raises(SpecError, match=f"folder of its {what}"):
                Sandbox("strict").check_folders(**{what: folder})
            Sandbox("limits").check_folders(**{what: folder})
    own = tmp_path / "home" / "me" / "model"
    Sandbox("strict").check_folders(file=own, interpreter=Path("/usr"), environment=None)


def test_a_strict_model_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "double.py").write_text(MODEL)
    with pytest.raises(SpecError, match="folder of its file, and that would be") as caught:
        isopod.load(tmp_path / "double.py:double", sandbox="strict")
    assert str(tmp_path) in str(caught.value)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "double.py").write_text(MODEL)
    with isopod.load(tmp_path / "model" / "double.py:double", sandbox="strict") as model:
        assert model(x=2)["output"] == 4


@pytest.mark.parametrize(
    ("name", "profiles"),
    [
        ("CUDA_VISIBLE_DEVICES", "none limits strict"),
        ("LD_LIBRARY_PATH", "none limits strict"),
        ("OMP_NUM_THREADS", "none limits strict"),
        ("HF_HOME", "none limits strict"),
        ("LANG", "none limits strict"),
        ("HTTPS_PROXY", "none limits"),
        ("https_proxy", "none limits"),
        ("SSL_CERT_FILE", "none limits"),
        ("HF_TOKEN", "none"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
        ("CUDA_API_KEY", "none"),
        ("DATABASE_URL", "none"),
        ("PYTHONPATH", ""),
        ("VIRTUAL_ENV", ""),
    ],
)
def test_variables_are_inherited_by_an_allow_list(name: str, profiles: str) -> None:
    assert [profile for profile in ("none", "limits", "strict") if inherits(name, profile)] == profiles.split()


def test_what_an_environment_says_itself_comes_on_top() -> None:
    application = {"PATH": "/bin", "DATABASE_URL": "secret", "HF_HOME": "/a"}
    extra = {"HF_TOKEN": "given", "PATH": None}
    assert worker_variables(application, extra, "strict") == {"HF_HOME": "/a", "HF_TOKEN": "given"}


@pytest.mark.parametrize("profile", ["none", "limits", "strict"])
def test_a_report_says_what_holds_as_text_and_as_data(profile: str, tmp_path: Path) -> None:
    (tmp_path / "double.py").write_text(MODEL)
    with isopod.load(tmp_path / "double.py:double", sandbox=profile, workers=2) as model:
        report = model.sandbox_report()
        assert (report.model, report.profile) == ("double", profile)
        assert set(report.pids) == {worker.pid for worker in model.health.workers}
        assert report.lacks
        names = [mechanism.name for mechanism in report.mechanisms]
        assert ("system calls" in names, "capabilities" in names) == (profile == "strict", profile != "none")
        assert json.loads(report.to_json())["mechanisms"] == [
            {"name": one.name, "detail": one.detail, "seen_by": one.seen_by} for one in report.mechanisms
        ]
        assert all(one.detail in str(report) for one in report.mechanisms)
        assert {one.seen_by for one in report.mechanisms} <= {"application", "worker"}
    with pytest.raises(isopod.Closed):
        model.sandbox_report()


def test_limits_are_what_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(
        "import resource\ndef look():\n"
        "    return {name: list(resource.getrlimit(getattr(resource, 'RLIMIT_' + name)))\n"
        "            for name in ('NOFILE', 'CORE', 'FSIZE', 'AS', 'MEMLOCK')}\n"
    )
    box = Sandbox("limits", max_files=100, max_file_size=1 << 20, address_space=4 << 30)
    with isopod.load(tmp_path / "look.py:look", sandbox=box) as model:
        seen = model()
    assert seen["NOFILE"] == [100, 100]
    assert seen["CORE"] == [0, 0]
    assert seen["FSIZE"] == [1 << 20, 1 << 20]
    assert seen["AS"] == [4 << 30, 4 << 30]
    assert seen["MEMLOCK"][1] <= 8 << 20
