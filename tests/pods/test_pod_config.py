"""What a pod says of itself, and what is wrong with it: each error names the pod, the file and the value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pods import neuropod_packages as packages
from pythons import need

import isopod
from isopod.runtime.pods import frameworks, peek, section, semver

F32 = "float32"


def spec(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "x", "dtype": F32, "shape": [None], **changes}]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"name": 3}, "name is 3"),
        ({"platform": "caffe"}, "platform 'caffe' is not known; there are python, tensorflow, torchscript"),
        ({"platform_version_semver": "newest"}, "platform_version_semver: 'newest' is not a range"),
        ({"platform_version_semver": 3}, "platform_version_semver: 3 is not a range"),
        ({"input_spec": spec(dtype="object")}, "'x' has the dtype 'object'"),
        ({"input_spec": spec(dtype="float31")}, "'x' has the dtype 'float31'"),
        ({"input_spec": spec(shape=[-1])}, "the dimension -1"),
        ({"input_spec": spec(shape=[0])}, "the dimension 0"),
        ({"input_spec": spec(shape=[2.0])}, r"the dimension 2\.0"),
        ({"input_spec": spec(shape=[True])}, "the dimension True"),
        ({"input_spec": spec(shape=[""])}, "the dimension ''"),
        ({"input_spec": spec(shape=[1 << 80])}, "the dimension 12089"),
        ({"input_spec": spec(shape=None)}, "the shape None"),
        ({"input_spec": spec(shape=[1] * 40)}, "at most 32"),
        ({"input_spec": spec() + spec(dtype="int8")}, "'x' is in it twice"),
        ({"output_spec": None}, "output_spec is not a list"),
        ({"output_spec": [3]}, "3 is not an object with name"),
        ({"custom_ops": ["../../evil.so"]}, r"the custom op '\.\./\.\./evil\.so' is no file"),
        ({"custom_ops": ["missing.so"]}, r"'missing\.so' is no file in 0/ops/"),
        ({"custom_ops": "a"}, "custom_ops is not a list"),
        ({"input_tensor_device": {"x": "TPU"}}, "does not say CPU or GPU"),
        ({"input_tensor_device": {"z": "GPU"}}, "'z', which is no input"),
    ],
)
def test_a_config_that_is_wrong(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    files = packages.addition()
    files["config.json"] = json.dumps(
        {**json.loads(files["config.json"]), "input_tensor_device": {}, **change}
    ).encode()
    place = packages.as_folder(files, tmp_path / "pod")
    with pytest.raises(isopod.SpecError, match=match) as caught:
        peek(place)
    assert str(place) in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_shape_that_is_not_finite(number: str, tmp_path: Path) -> None:
    files = packages.addition()
    files["config.json"] = files["config.json"].replace(b'"batch"', number.encode())
    with pytest.raises(isopod.SpecError, match=r"no number that JSON has|the dimension inf"):
        peek(packages.as_folder(files, tmp_path / "pod"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b'{"name": "a", "name": "b"}', "'name' is in it twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "not UTF-8"),
        (b"[]", "is not an object"),
        (b"", "is not JSON"),
    ],
)
def test_a_config_that_is_no_json(text: bytes, match: str, tmp_path: Path) -> None:
    place = packages.as_zip({**packages.addition(), "config.json": text}, tmp_path / "x.zip")
    with pytest.raises(isopod.SpecError, match=match):
        peek(place)


def test_what_is_no_pod(tmp_path: Path) -> None:
    with pytest.raises(isopod.SpecError, match="there is no pod"):
        isopod.load(tmp_path / "missing.zip")
    packages.as_zip({"readme.txt": b""}, tmp_path / "other.zip")
    with pytest.raises(isopod.SpecError, match=r"there is no config\.json in it"):
        isopod.load(tmp_path / "other.zip")
    packages.as_zip({f"model/{name}": data for name, data in packages.addition().items()}, tmp_path / "below.zip")
    with pytest.raises(isopod.SpecError, match=r"in the folder 'model'; it belongs at the top"):
        isopod.load(tmp_path / "below.zip")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").write_text('{"architectures": ["Bert"]}')
    with pytest.raises(isopod.SpecError, match="is no SavedModel"):  # a model hub's folder: not for us
        isopod.load(tmp_path / "hub")


@pytest.mark.parametrize(
    ("own", "match"),
    [
        ({"entrypoint": "f"}, "entrypoint_package is None"),
        ({"entrypoint": "f", "entrypoint_package": "../evil"}, "not the name of a function"),
        ({"entrypoint": "f()", "entrypoint_package": "m"}, "not the name of a function"),
        ({"entrypoint": "f", "entrypoint_package": "missing.module"}, r"has no 0/code/missing/module\.py"),
    ],
)
def test_an_absent_entry_point(own: dict[str, str], match: str, tmp_path: Path) -> None:
    files = {**packages.addition(), "0/config.json": json.dumps(own).encode()}
    with pytest.raises(isopod.SpecError, match=match):
        isopod.load(packages.as_folder(files, tmp_path / "pod"))


@pytest.mark.parametrize("platform", ["tensorflow", "torchscript"])
def test_a_pod_without_its_model(platform: str, tmp_path: Path) -> None:
    place = packages.as_folder({"config.json": packages.config(platform)}, tmp_path / "pod")
    with pytest.raises(isopod.SpecError, match="there is no model in it"):
        isopod.load(place)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[limit]\n", r"there is no 'limit'; did you mean 'limits'"),
        ("limits = 3\n", "limits is not a table"),
        ("[limits]\ntimeouts = 3\n", "did you mean 'timeout'"),
        ("[limits]\ntimeout = 'long'\n", "not a number"),
        ("[limits]\nworkers = 1.5\n", "not a whole number"),
        ("[limits]\nworkers = -1\n", "not a whole number"),
        ("[limits]\ntimeout = nan\n", "not a number"),
        ("[environment]\nrequirements = 'numpy'\n", "not a list of strings"),
        ("[environment]\nindex-url = 'https://evil'\n", "environment has no 'index-url'"),
        ("[environment]\nvariables = {LD_PRELOAD = 'evil.so'}\n", "environment has no 'variables'"),
        ("[environment]\npython = '0/data/python'\n", "names no interpreter of this machine"),
        ("[environment]\npython = '/usr/bin/python3'\n", "names no interpreter of this machine"),
        ("[environment]\nlock = '../../pylock.toml'\n", "is no file of the pod"),
        ("[problem]\npath = 'missing.toml'\n", "is no file of the pod"),
        ("[metadata]\ndescription = 3\n", "not a string"),
        ("[sandbox]\nprofile = 'none'\n", "a pod cannot ask for none"),
        ("[sandbox]\nprofile = 'lax'\n", "there is no sandbox 'lax'"),
        ("[sandbox]\nreadable = ['/etc']\n", "there is no 'readable'"),
        ("[sandbox]\nscratch = 'much'\n", "scratch is a number"),
        ("[metadata\n", "this is not TOML"),
    ],
)
def test_our_section_when_it_is_wrong(text: str, match: str, tmp_path: Path) -> None:
    place = packages.as_folder({**packages.addition(), "isopod.toml": text.encode()}, tmp_path / "pod")
    with pytest.raises(isopod.SpecError, match=match) as caught:
        isopod.load(place)
    assert "isopod.toml" in str(caught.value)


def test_our_section_is_read_as_it_was_written(tmp_path: Path) -> None:
    said = section.Section(
        {"requirements": ("scikit-learn==1.2.2", "numpy<2"), "python": "3.11"},
        {"timeout": 2.5, "memory_limit": 1 << 30},
        {"name": "digits", "version": "1"},
        {"description": 'Ziffern, "8×8" \x7f', "licence": "MIT"},
        {"profile": "strict", "scratch": 1 << 20},
    )
    place = packages.as_folder({**packages.addition(), "isopod.toml": section.write(said).encode()}, tmp_path / "pod")
    read = peek(place).section
    assert {**read.environment, "requirements": tuple(read.environment["requirements"])} == said.environment
    assert (read.limits, read.problem, read.metadata, read.sandbox) == (
        said.limits, said.problem, said.metadata, said.sandbox,
    )  # fmt: skip
    assert read.env(place) == isopod.Env(["scikit-learn==1.2.2", "numpy<2"], python="3.11")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", [""]),
        ("", [""]),
        ("1.15.0", ["==1.15.0"]),
        ("> 1.13.1", [">1.13.1"]),
        (">=1.4 <2", ["<2,>=1.4"]),
        ("1.4.0 - 1.6.0", ["<=1.6,>=1.4"]),
        ("^1.12", ["<2,>=1.12"]),
        ("~2.1", ["<2.2,>=2.1"]),
        ("3.7.x || >=3.10", [">=3.10", "<3.8,>=3.7"]),
    ],
)
def test_ranges_as_npm_writes_them(text: str, expected: list[str]) -> None:
    found = [",".join(sorted(str(one).split(","))) for one in semver.alternatives(text)]
    assert found == [",".join(sorted(one.split(","))) for one in expected]


def test_a_range_holds_versions_as_packages_write_them() -> None:
    assert semver.satisfies("1.15.5", "^1.12")
    assert semver.satisfies("1.12.1+cu113", "1.12.1")
    assert semver.satisfies("2.0.0rc1", ">=1.0.0 <3")
    assert not semver.satisfies("2.0.0", "^1.12")


@pytest.mark.parametrize(
    ("platform", "versions", "requirement"),
    [
        ("tensorflow", "*", "tensorflow>=2.20"),
        ("tensorflow", "^1.12", "tensorflow<2,<2.2,>=1.12,>=1.13"),
        ("tensorflow", "1.15.0", "tensorflow<2.2,==1.15.0,>=1.13"),
        ("tensorflow", "<2", "tensorflow<2,<2.2,>=1.13"),
        ("torchscript", "~1.12.1", "torch<1.13,>=1.11,>=1.12.1"),
        ("torchscript", "*", "torch>=2.6"),
    ],
)
def test_an_environment_from_a_framework_s_range(
    platform: str, versions: str, requirement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frameworks, "find_interpreter", lambda request: request)
    found = frameworks.environment(platform, versions)
    name = "tensorflow" if platform == "tensorflow" else "torch"
    (mine,) = (one for one in found.requirements if one.startswith(name))
    assert sorted(mine.removeprefix(name).split(",")) == sorted(requirement.removeprefix(name).split(","))


def test_no_environment_for_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(isopod.SpecError, match=r"no tensorflow in '<1\.5'"):
        frameworks.environment("tensorflow", "<1.5")

    def none(request: str) -> None:
        raise isopod.SpecError(request)

    monkeypatch.setattr(frameworks, "find_interpreter", none)
    with pytest.raises(
        isopod.SpecError, match=r"torch 1\.11 and later runs on Python >=3\.7,<3\.11, which this machine"
    ):
        frameworks.environment("torchscript", "1.12.1")


def test_which_inputs_a_package_wants_on_the_processor(tmp_path: Path) -> None:
    from isopod.runtime.pods import open_pod

    files = {"config.json": packages.config("torchscript", input_tensor_device={"y": "CPU"}), "0/data/model.pt": b""}
    target = open_pod(packages.as_folder(files, tmp_path / "pod")).target
    assert target.on_cpu == ("y",)
    assert target.fields()["on_cpu"] == ["y"]


def test_a_python_package_chooses_its_interpreter(tmp_path: Path) -> None:
    need("3.7")
    from isopod.runtime.pods import open_pod

    def env(name: str, **more: Any) -> isopod.Env:
        return open_pod(packages.as_folder(packages.addition(**more), tmp_path / name)).env

    assert env("any") == isopod.Env.current()
    assert env("old", platform_version_semver="3.7.x") == isopod.Env(python="<3.8,>=3.7")
    assert env("locked", requirements="six==1.16.0\n") == isopod.Env(["six==1.16.0"])
    both = env("both", requirements="six==1.16.0\n", platform_version_semver="2.7.x || 3.7.x")
    assert both == isopod.Env(["six==1.16.0"], python="<3.8,>=3.7")
    with pytest.raises(isopod.SpecError, match=r"no Python of this machine is in '2\.7\.x'"):
        env("none", platform_version_semver="2.7.x")
