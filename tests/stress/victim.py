"""An application that is killed: ``python -m stress.victim SEED`` calls two models until then."""

from __future__ import annotations

import sys
import threading

from stress import subjects
from stress.callers import KINDS
from stress.fire import Reloader
from stress.ledger import Ledger

_LARGEST = 1 << 20  # bytes
_CALLS, _SECONDS = 1_000_000, 60.0


def main(seed: str) -> int:
    """Only a fault lets this return."""
    ledger = Ledger(_CALLS, _SECONDS)
    reloader = Reloader(ledger, _LARGEST, seed)
    threading.Thread(target=reloader.run).start()
    models = [subjects.load(name) for name in ("plain", "keeper")]
    callers = [kind(ledger, models, _LARGEST, f"{seed}/{number}") for number, kind in enumerate(KINDS)]
    threads = [threading.Thread(target=caller.run) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stderr.write("\n".join(ledger.violations) + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
