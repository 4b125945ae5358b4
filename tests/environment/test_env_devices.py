"""Which accelerators a worker sees: what may be said, and what CUDA is told, whatever the application sees itself."""

from __future__ import annotations

from typing import Any

import pytest

import isopod
from isopod import Env, SpecError
from isopod.runtime.environment import prepare
from isopod.runtime.environment.devices import visibility

UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
OTHER = "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"
PCI = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.mark.parametrize(
    ("devices", "application", "variables"),
    [
        (None, {}, {}),
        (None, {"CUDA_VISIBLE_DEVICES": "3"}, {}),
        ("cpu", {"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "-1"}),
        ([], {}, {"CUDA_VISIBLE_DEVICES": "-1"}),
        ("cuda:1", {}, {"CUDA_VISIBLE_DEVICES": "1", **PCI}),
        (["cuda:2", "cuda:0"], {}, {"CUDA_VISIBLE_DEVICES": "2,0", **PCI}),
        ([UUID, OTHER], {}, {"CUDA_VISIBLE_DEVICES": f"{UUID},{OTHER}", **PCI}),
        (["cuda:0"], {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, {"CUDA_VISIBLE_DEVICES": "0"}),
        # a list of the application's: places in it, in the order by which its numbers were meant
        (["cuda:1", "cuda:0"], {"CUDA_VISIBLE_DEVICES": "4, 7"}, {"CUDA_VISIBLE_DEVICES": "7,4"}),
        (["cuda:1"], {"CUDA_VISIBLE_DEVICES": f"3,{UUID}"}, {"CUDA_VISIBLE_DEVICES": UUID}),
        ([UUID], {"CUDA_VISIBLE_DEVICES": UUID[:12]}, {"CUDA_VISIBLE_DEVICES": UUID}),
        ([UUID], {"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": UUID}),
    ],
    ids=repr,
)
def test_what_cuda_is_told(devices: Any, application: dict[str, str], variables: dict[str, str]) -> None:
    assert visibility(Env(devices=devices).devices, {}, (), application) == variables


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("cuda:0", ""),
        ("cuda:0", "-1"),
        ("cuda:2", "4,7"),
        ("cuda:1", "4,-1,7"),  # CUDA stops at the first that cannot be
        (UUID, OTHER),
        (UUID, "-1"),
    ],
)
def test_no_more_than_the_application_sees(name: str, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    with pytest.raises(SpecError, match="does not see") as caught:
        prepare(Env.current(devices=[name]))
    assert name in str(caught.value)
    assert f"CUDA_VISIBLE_DEVICES={seen}" in str(caught.value)


def test_numbers_keep_the_order_that_they_were_meant_in() -> None:
    env = Env(devices=["cuda:0"], variables=PCI)
    with pytest.raises(SpecError, match="other devices"):
        visibility(["cuda:0"], env.variables, (), {"CUDA_VISIBLE_DEVICES": "1"})
    same = {"CUDA_VISIBLE_DEVICES": "1", **PCI}
    assert visibility(["cuda:0"], env.variables, (), same) == {"CUDA_VISIBLE_DEVICES": "1"}
    with pytest.raises(SpecError, match="other devices"):
        visibility(["cuda:0"], {}, ("CUDA_DEVICE_ORDER",), same)
    assert visibility(["cuda:0"], {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, (), {}) == {"CUDA_VISIBLE_DEVICES": "0"}


@pytest.mark.parametrize(
    "wrong",
    ["cuda", "gpu", "cuda:-1", "cuda:01", "0", ["cpu", "cuda:0"], ["cuda:0", "cuda:0"], [0], "GPU-", ""],
    ids=repr,
)
def test_what_is_no_device_is_named(wrong: Any) -> None:
    with pytest.raises(SpecError, match="devices: "):
        Env(devices=wrong)


def test_visibility_is_said_once() -> None:
    with pytest.raises(SpecError, match="say one of the two"):
        Env(devices="cpu", variables={"CUDA_VISIBLE_DEVICES": ""})
    with pytest.raises(SpecError, match="say one of the two"):
        Env(devices=["cuda:0"], unset=["CUDA_VISIBLE_DEVICES"])
    assert Env(variables={"CUDA_VISIBLE_DEVICES": "1"}).devices is None


def test_a_worker_sees_them_and_its_threads(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is executed, and so before any library of it could read them."""
    (tmp_path / "tell.py").write_text(
        "import os\n"
        "SEEN = {name: os.environ.get(name, '') for name in ('CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS')}\n"
        "def tell():\n"
        "    return dict(SEEN)\n"
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    env = Env.current(devices=["cuda:1"], threads=3)
    for options, threads in (({}, "3"), ({"threads": 2}, "2"), ({"threads": isopod.Threads(4, 2)}, "4")):
        with isopod.load(f"{tmp_path / 'tell.py'}:tell", env=env, **options) as model:
            assert dict(model()) == {"CUDA_VISIBLE_DEVICES": "6", "OMP_NUM_THREADS": threads}
