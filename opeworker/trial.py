"""Lock this process as a worker would, and say on stdout what came of it, as JSON: ``isopod doctor`` runs this.

It is given the folder ``ipc`` and what a load message would order. Nothing is loaded, and nothing is left behind.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main() -> None:
    ipc, order = sys.argv[1], json.loads(sys.argv[2])
    spec = importlib.util.spec_from_file_location("bootstrap", os.path.join(HERE, "bootstrap.py"))
    assert spec is not None
    assert spec.loader is not None
    bootstrap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bootstrap)
    for name, path in (("isopod", []), ("isopod.ipc", [ipc]), ("isopod.opeworker", [HERE])):
        bootstrap._package(name, path)
    guard = importlib.import_module("isopod.opeworker.guard.lock")
    load = {"sandbox": order, "environment": {"prefix": "", "sites": []}, "target": {}}
    try:
        answer = {"done": guard.lock(load, [ipc, HERE])}
    except guard.Unavailable as error:
        answer = {"missing": str(error)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
