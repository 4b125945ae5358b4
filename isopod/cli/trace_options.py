"""The arguments of ``isopod trace``. Apart from the command itself, so that ``--help`` imports nothing of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from isopod.cli import bench_options

_DESCRIPTION = """\
Record what calls and workers do as a timeline for https://ui.perfetto.dev: of a
model that is asked a few times, or of an application of yours (after --), for as
long as it runs. Nothing is sent anywhere.
"""
_EXAMPLES = """\
examples:
  isopod trace -o trace.json.gz -- python app.py --port 8000
  isopod trace digits.pod --calls 50
  isopod trace net.py:Net --inputs images.npz --callers 4
  ISOPOD_TRACE=trace.json python app.py        the same, without this command

open the file in https://ui.perfetto.dev, or with chrome://tracing. A track is a
thread that calls, or a worker; slices are calls and their phases; arrows lead from
a call to its worker and back. An application that is killed writes no file; each
further process of one writes a file with its number in the name.

exit codes: 0 it worked   2 it could not run   130 Ctrl-C   else the application's
"""


def split(words: Sequence[str]) -> tuple[Sequence[str], list[str] | None]:
    """The words that are ours, and those of an application to run, which follow ``--``; None where there is none."""
    if not words or words[0] != "trace" or "--" not in words:
        return words, None
    at = list(words).index("--")
    return words[:at], list(words[at + 1 :])


def add(commands: Any) -> None:
    """Add ``trace`` to the commands of ``isopod``."""
    trace = commands.add_parser(
        "trace",
        help="a timeline of calls and workers, for Perfetto",
        usage="isopod trace [options] MODEL\n       isopod trace [-o FILE] -- COMMAND ...",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    trace.add_argument("model", metavar="MODEL", nargs="?", help="as isopod.load takes it")
    trace.add_argument(
        "-o", "--output", metavar="FILE", default="trace.json", help=".json or .json.gz (trace.json by default)"
    )
    bench_options.add_inputs(trace)
    bench_options.add_model(trace)
    run = trace.add_argument_group("how much")
    run.add_argument("--calls", metavar="N", type=int, default=20, help="of each caller (20 by default)")
    run.add_argument("--callers", metavar="N", type=int, default=1, help="threads that call at once (1 by default)")
