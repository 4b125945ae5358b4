"""Where a model runs: what its worker may see is settled before it is executed, and a missing GPU is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import isopod
from isopod.runtime.devices import check_device, seen_device, with_device

HAS_GPU = Path("/dev/nvidiactl").exists()
VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "CPU", "cuda:1,2", "", 0])
def test_a_device_is_the_processor_or_a_numbered_gpu(device: str) -> None:
    with pytest.raises(isopod.SpecError, match=r"device is 'cpu', or a GPU such as 'cuda:0', not"):
        check_device(device)


def test_a_worker_sees_the_one_device_that_it_is_to_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    assert with_device({"A": "1"}, None) == {"A": "1"}
    assert with_device({}, "cpu") == {VISIBLE: "-1"}
    assert with_device({}, "cuda:2") == {VISIBLE: "2", ORDER: "PCI_BUS_ID"}
    assert with_device({}, "cuda") == {VISIBLE: "0", ORDER: "PCI_BUS_ID"}
    assert [seen_device(device) for device in (None, "cpu", "cuda", "cuda:3")] == ["", "cpu", "cuda:0", "cuda:0"]


def test_numbers_count_in_the_list_that_is_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "4, GPU-8932f937")
    assert with_device({}, "cuda:1") == {VISIBLE: "GPU-8932f937"}
    assert with_device({VISIBLE: "7"}, "cuda:0") == {VISIBLE: "7"}
    with pytest.raises(
        isopod.SpecError, match=r"no device 'cuda:2': CUDA_VISIBLE_DEVICES lists 2 \('4, GPU-8932f937'\)"
    ):
        with_device({}, "cuda:2")


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
