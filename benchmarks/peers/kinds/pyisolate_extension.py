"""pyisolate: an extension in a process of its own that shares Torch, whose tensors cross in shared memory."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import contract
from benchmarks.peers.contract import Array


class Peer(contract.Peer):
    def start(self) -> None:
        os.environ["PATH"] = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"  # where uv is
        import pyisolate
        import torch

        torch.set_num_threads(1)
        self._torch: Any = torch
        folder = contract.own_folder()
        (folder / "extension").mkdir()
        (folder / "extension" / "__init__.py").touch()  # all of it is in the class, which the worker imports
        from benchmarks.peers.kinds.pyisolate_worker import Extension

        self._manager: Any = pyisolate.ExtensionManager(Extension, {"venv_root_path": str(folder / "venvs")})
        self._extension: Any = self._manager.load_extension(
            {
                "name": "bench",
                "module_path": str(folder / "extension"),
                "isolated": True,
                "dependencies": [],
                "apis": [],
                "share_torch": True,
                "share_cuda_ipc": False,
                "sandbox_mode": pyisolate.SandboxMode.DISABLED,
            }
        )
        self._loop = asyncio.new_event_loop()

    def call(self, function: str, array: Array) -> Array:
        answer = self._loop.run_until_complete(self._extension.call(function, self._torch.from_numpy(array)))
        return answer.numpy()

    def stop(self) -> None:
        self._manager.stop_all_extensions()
        self._loop.close()
