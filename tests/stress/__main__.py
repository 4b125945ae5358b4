"""``python -m stress``: run the soak, print what happened, and end with 0 only if everything held. Ctrl-C prints what
there is. Run it from the repository's root with ``tests`` on the path, as ``make stress`` does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.progress import Progress
from isopod.cli.screen import Screen
from stress import flatness, report, subjects
from stress.content import LARGEST
from stress.soak import Effort, Soak, Stuck

_CALLS, _QUICK_SECONDS = 1_000_000, 15.0
_TELL_EVERY = 0.5 if sys.stderr.isatty() else 20.0  # seconds


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    seed = options.seed or str(random.randrange(10**6))
    logging.getLogger("isopod").addHandler(logging.NullHandler())  # what the models print is nobody's affair
    logging.getLogger("isopod").propagate = False
    screen = Screen()
    screen.line(f"seed {seed}")
    wanted = {name: getattr(options, name) for name in subjects.OPTIONS}
    soak = Soak(_effort(options), seed, wanted, _Teller().tell)
    complete = stuck = False
    try:
        flatness.plain_malloc()
        with _own_temporary_folder():
            soak.run()
        complete = True
    except Stuck as hang:
        soak.ledger.violate(str(hang))
        stuck = True
    except KeyboardInterrupt:
        return 130
    finally:  # after Ctrl-C or an error too: what there is
        Progress(0).clear()
        report.show(screen, soak)
        report.verdict(screen, soak, seed, complete)
        if options.json:
            found = {"seed": seed, "complete": complete, **report.figures(soak)}
            options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if stuck:
        sys.stdout.flush()
        os._exit(1)  # whatever hangs may hang the end of this process, too
    return 1 if soak.ledger.violated else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stress", description="A million calls under fire.")
    parser.add_argument("--calls", type=int, default=_CALLS, metavar="N", help=f"how many calls (default: {_CALLS:,})")
    parser.add_argument("--seconds", type=float, metavar="S", help="end after that many seconds, if not before")
    parser.add_argument("--seed", help="what is random follows from it; a new one each time if left out")
    parser.add_argument("--quick", action="store_true", help="about half a minute, with every kind of harm")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    for name in subjects.OPTIONS:
        parser.add_argument(
            f"--{name}", type=int, default=0, metavar="N", help=f"load the models under fire with {name}=N"
        )
    return parser


def _effort(options: argparse.Namespace) -> Effort:
    if options.quick:
        seconds = options.seconds or _QUICK_SECONDS
        return Effort(options.calls, seconds, 8 << 20, 0.25, 3600.0, first_and_last=1, samples=10)
    return Effort(options.calls, options.seconds, LARGEST, 1.5, 10.0, first_and_last=3, samples=24)


@contextlib.contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """So that nobody else's temporary files are counted; workers inherit it."""
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="isopod-soak-") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        yield
        tempfile.tempdir = None
        del os.environ["TMPDIR"]
        if before is not None:
            os.environ["TMPDIR"] = before


class _Teller:
    """A line of progress now and then."""

    def __init__(self) -> None:
        self._next = 0.0

    def tell(self, what: str, left: float) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _TELL_EVERY
            Progress(left, "soaking:").step(what, 0.0)


if __name__ == "__main__":
    sys.exit(main())
