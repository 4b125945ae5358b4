"""Where a model runs: what its worker may see is settled before it is executed, and a missing GPU is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isopod
from isopod.runtime.devices import check_device, seen_device
from isopod.runtime.environment import narrowed

HAS_GPU = Path("/dev/nvidiactl").exists()
VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cuda:01", "CPU", "cuda:1,2", "", 0])
def test_a_device_is_the_processor_or_a_numbered_gpu(device: str) -> None:
    with pytest.raises(isopod.SpecError, match=r"device is 'cpu', or a GPU such as 'cuda:0', not"):
        check_device(device)


def test_a_worker_sees_the_one_device_that_it_is_to_run_on() -> None:
    assert narrowed(None, {"A": "1"}, {}) == {}
    assert narrowed("cpu", {VISIBLE: "1"}, {VISIBLE: "2"}) == {VISIBLE: "-1"}
    assert narrowed("cuda:2", {}, {}) == {VISIBLE: "2", ORDER: "PCI_BUS_ID"}
    assert narrowed("cuda", {}, {}) == {VISIBLE: "0", ORDER: "PCI_BUS_ID"}
    assert narrowed("cuda:2", {ORDER: "FASTEST_FIRST"}, {}) == {VISIBLE: "2"}  # the user's own word stays
    assert narrowed("cuda:2", {ORDER: None}, {ORDER: "PCI_BUS_ID"}) == {VISIBLE: "2"}
    assert [seen_device(device) for device in (None, "cpu", "cuda", "cuda:3")] == ["", "cpu", "cuda:0", "cuda:0"]


def test_numbers_count_in_the_applications_list_where_it_has_one() -> None:
    seen = {VISIBLE: "4, GPU-8932f937"}
    assert narrowed("cuda:1", {}, seen) == {VISIBLE: "GPU-8932f937"}
    assert narrowed("cuda:5", {VISIBLE: None}, seen) == {VISIBLE: "5", ORDER: "PCI_BUS_ID"}  # not inherited: all again
    for device, listed in (("cuda:2", "4, GPU-8932f937"), ("cuda:0", ""), ("cuda:0", "-1"), ("cuda:1", "4,-1,7")):
        with pytest.raises(
            isopod.SpecError, match=rf"does not see the device '{device}' itself: it runs with .*{listed}"
        ):
            narrowed(device, {}, {VISIBLE: listed})
    with pytest.raises(isopod.SpecError, match="other devices"):
        narrowed("cuda:0", {ORDER: "FASTEST_FIRST"}, {VISIBLE: "4"})


def test_a_models_device_is_one_of_those_of_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``cuda:0`` is the first that ``Env(devices=)`` names, whatever the machine calls it."""
    monkeypatch.setenv(VISIBLE, "4,6,7")
    (tmp_path / "m.py").write_text("def f(): return {}\n")

    def seen(device: str | None, devices: Any) -> Any:
        drawn: dict[str, Any] = {}
        monkeypatch.setattr(
            "isopod.runtime.loading._started", lambda _, source, blueprint, *__: drawn.update(b=blueprint)
        )
        isopod.load(f"{tmp_path}/m.py:f", env=isopod.Env.current(devices=devices), device=device, name="m")
        blueprint = drawn["b"]
        blueprint.release()
        return blueprint.environ()[VISIBLE], blueprint.order.environment["device"]

    both = ["cuda:2", "cuda:1"]  # of the application's three
    assert seen(None, both) == ("7,6", "")
    assert seen("cuda:0", both) == ("7", "cuda:0")
    assert seen("cuda:1", both) == ("6", "cuda:0")
    assert seen("cpu", both) == ("-1", "cpu")
    assert seen("cuda:1", None) == ("6", "cuda:0")
    assert seen("cpu", "cpu") == ("-1", "cpu")
    with pytest.raises(
        isopod.SpecError, match=r"model 'm': there is no 'cuda:2' among .*which are 2 .*=7,6.*is the first"
    ):
        seen("cuda:2", both)
    with pytest.raises(isopod.SpecError, match=r"model 'm': there is no 'cuda:0' among .*which are none"):
        seen("cuda:0", "cpu")
    with pytest.raises(isopod.SpecError, match="does not see the device 'cuda:3' itself"):
        seen("cuda:3", None)


def test_a_python_model_sees_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    (tmp_path / "m.py").write_text(
        "import os\ndef seen(): return {'seen': os.environ.get('CUDA_VISIBLE_DEVICES', '')}\n"
    )
    with isopod.load(f"{tmp_path}/m.py:seen", device="cpu") as model:
        assert model()["seen"] == "-1"
    with isopod.load(f"{tmp_path}/m.py:seen") as model:
        assert model()["seen"] == ""
    if not HAS_GPU:
        with pytest.raises(isopod.SpecError, match=r"the GPU 1 was asked for, and is not there: .*'cpu'"):
            isopod.load(f"{tmp_path}/m.py:seen", device="cuda:1")


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.network
def test_torch_computes_on_the_gpu(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("def double(x):\n    return {'y': x * 2, 'where': str(x.device)}\n")
    env = isopod.Env(["torch", "numpy"], python="3.11")
    with isopod.load(f"{tmp_path}/m.py:double", backend="pytorch", device="cuda:0", env=env) as model:
        answer = model(x=np.ones(4, np.float32))
        assert answer["where"] == "cuda:0"
        assert answer["y"].tolist() == [2] * 4
        assert model.stats().bytes_copied_out == 0
