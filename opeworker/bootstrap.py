"""From exec to a worker under our own names: the first file that a child runs, on a bare ``python -I -S``.

It is given three numbers, the control channel, the pipe for fatal stacks and the parent's process id, two folders,
``ipc`` and one to keep bytecode in, and the lifeline. It imports what
it needs of the standard library, before any other folder is on the path, so a model's ``json.py`` or ``queue.py`` can
harm nothing; then it makes the packages ``isopod.ipc`` and ``isopod.opeworker`` out of the folders they lie in. Nothing
of ours is installed in a model's environment, and nothing of the application is on this process's path.
"""

from __future__ import annotations

import faulthandler
import importlib
import importlib.machinery
import os
import signal
import sys
import types

STACKS_SIGNAL = signal.SIGRTMAX - 1  # the parent sends it to see where a worker hangs


def main() -> None:
    control, faults, parent = (int(argument) for argument in sys.argv[1:4])
    ipc, bytecode = sys.argv[4:6]
    lifeline = int(sys.argv[6])
    faulthandler.enable(file=faults, all_threads=True)
    faulthandler.register(STACKS_SIGNAL, file=faults, all_threads=True)
    here = os.path.dirname(os.path.abspath(__file__))
    _disguise()
    root = _package("isopod", [])
    _package("isopod.ipc", [ipc])
    _package("isopod.opeworker", [here])
    worker = _import_worker(bytecode)
    # For a model, `import isopod` gives just this one door.
    root.worker = worker.context  # type: ignore[attr-defined]
    sys.modules["isopod.worker"] = worker.context
    worker.run(control, parent, lifeline, faults, [ipc, here])


def _import_worker(bytecode: str) -> types.ModuleType:
    """Load our own modules, with their bytecode in a folder of ours: where they lie may be read-only, or another
    Python's, and compiling them takes longer than everything else before hello."""
    kept = getattr(sys, "pycache_prefix", None), sys.dont_write_bytecode
    sys.pycache_prefix, sys.dont_write_bytecode = bytecode, False
    try:
        return importlib.import_module("isopod.opeworker.worker")
    finally:
        sys.pycache_prefix, sys.dont_write_bytecode = kept


def _disguise() -> None:
    """Look like an ordinary interpreter: models parse ``sys.argv`` and re-run ``__main__`` in subprocesses."""
    sys.argv = ["isopod-worker"]
    main_module = sys.modules["__main__"]
    main_module.__spec__ = None
    if hasattr(main_module, "__file__"):
        del main_module.__file__


def _package(name: str, path: list[str]) -> types.ModuleType:
    """An importable package over folders that are not on ``sys.path``, without running an ``__init__``."""
    module = types.ModuleType(name)
    module.__path__ = path
    spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = path
    module.__spec__ = spec
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


if __name__ == "__main__":
    main()
