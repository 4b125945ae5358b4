"""The arguments of ``isopod compare``. Apart from the command itself, so that ``--help`` imports nothing of it."""

from __future__ import annotations

import argparse
from typing import Any

_DESCRIPTION = """\
Ask several models the same, each in a worker of its own. The first is the
reference: the answers of the others are held against its own. Then they take
turns (A B B A) and are timed. One that crashes, hangs or raises is reported,
and the others go on.
"""
_EXAMPLES = """\
examples:
  isopod compare old.py:Net new.py:Net --inputs image.npz
  isopod compare old.py:Net new.py:Net --problem net.toml --random 20
  isopod compare a.py:Net b.py:Net c.py:Net --inputs images/ --plot net.html
  isopod compare a.py:Net b.py:Net --inputs x.npz --fail-above '4 ulp' || exit

a problem says what implementations have in common:
  name = "net"
  version = "1.0"
  [[inputs]]
  name = "image"
  dtype = "float32"
  shape = ["batch", 3, "?", "?"]   # a symbol is one size; "?" is any
  [[outputs]]
  name = "scores"
  dtype = "float32"
  shape = ["batch", 1000]
  rtol = 1e-4                      # or atol, or ulp: what --fail-above replaces

inputs are files that numpy.savez makes, with an array for each input.

exit codes:
  0 they agree, or nothing says how far they may be apart   2 it could not run
  1 they do not agree, or one failed                      130 Ctrl-C
"""


def add(commands: Any) -> None:
    """Add ``compare`` to the commands of ``isopod``."""
    compare = commands.add_parser(
        "compare",
        help="implementations of one problem side by side: agreement, latency, memory",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument("models", metavar="MODEL", nargs="+", help="two or more, each as isopod.load takes it")
    asked = compare.add_argument_group("what they are asked")
    asked.add_argument("--problem", metavar="FILE", help="a TOML file: how inputs and outputs look, and tolerances")
    asked.add_argument(
        "--inputs", metavar="PATH", action="append", default=[], help="an .npz file, or a folder of them; repeatable"
    )
    asked.add_argument("--stacked", action="store_true", help="the first axis of each array counts samples")
    asked.add_argument("--random", metavar="N", type=int, default=0, help="make N samples from the problem's inputs")
    asked.add_argument("--seed", metavar="N", type=int, default=0, help="the same seed makes the same samples")
    asked.add_argument(
        "--size", metavar="SYMBOL=N", action="append", default=[], help="the size of a symbol in random samples"
    )
    asked.add_argument(
        "--cast", choices=("safe", "same_kind"), help="cast inputs to the problem's dtypes, as numpy does"
    )
    run = compare.add_argument_group("how")
    run.add_argument("--seconds", type=float, default=5.0, help="of timing, in all (5 by default); 0 for none")
    run.add_argument("--timeout", metavar="SECONDS", type=float, help="of each call; who takes longer has failed")
    run.add_argument(
        "--fail-above",
        metavar="ERROR",
        help="exit code 1 above this: an absolute error (1e-5), '1e-3 rel' or '4 ulp'; replaces the problem's",
    )
    out = compare.add_argument_group("what comes out")
    out.add_argument("--json", action="store_true", help="for a program to read")
    out.add_argument("--plot", metavar="FILE", help="a picture: .png, .svg, .pdf or .html; needs isopod[plot]")
