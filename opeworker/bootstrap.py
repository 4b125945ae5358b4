"""From exec to a worker under our own names: the first file that a child runs, on a bare ``python -I -S``.

It is given what it is to be, a ``worker`` or a ``template`` of workers; three descriptors: the control channel, the
pipe for fatal stacks and the lifeline; and two folders, ``ipc`` and one to keep bytecode in. It imports what it needs
of the standard library, before any other folder is on the path, so a model's ``json.py`` or ``queue.py`` can harm
nothing; then it makes the packages ``isopod.ipc`` and ``isopod.opeworker`` out of the folders they lie in. Nothing of
ours is installed in a model's environment, and nothing of the application is on this process's path.
"""

from __future__ import annotations

import time

BEGAN = time.monotonic_ns()  # before anything of ours: what went before it was the interpreter's own

import faulthandler
import importlib
import importlib.machinery
import os
import sys
import types


def main() -> None:
    role = sys.argv[1]
    control, faults, lifeline = (int(argument) for argument in sys.argv[2:5])
    ipc, bytecode = sys.argv[5:7]
    faulthandler.enable(file=faults, all_threads=True)
    here = os.path.dirname(os.path.abspath(__file__))
    _disguise()
    root = _package("isopod", [])
    _package("isopod.ipc", [ipc])
    _package("isopod.opeworker", [here])
    worker = _import_ours("worker", bytecode)
    faulthandler.register(worker.hold.STACKS_SIGNAL, file=faults, all_threads=True)
    worker.limits.close_all_but((control, faults, lifeline))
    # For a model, `import isopod` gives just this one door.
    root.worker = worker.context  # type: ignore[attr-defined]
    sys.modules["isopod.worker"] = worker.context
    began = BEGAN
    if role == "template":
        ends, began = _import_ours("template", bytecode).run(control, faults, lifeline)
        control, lifeline = ends.control, ends.lifeline
    worker.run(control, lifeline, [ipc, here], began)


def _import_ours(name: str, bytecode: str) -> types.ModuleType:
    """Load our own modules, with their bytecode in a folder of ours: where they lie may be read-only, or another
    Python's, and compiling them takes longer than everything else before hello."""
    kept = getattr(sys, "pycache_prefix", None), sys.dont_write_bytecode
    sys.pycache_prefix, sys.dont_write_bytecode = bytecode, False
    try:
        return importlib.import_module("isopod.opeworker." + name)
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
