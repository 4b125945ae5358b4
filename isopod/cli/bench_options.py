"""The arguments of ``isopod bench``. Apart from the command itself, so that ``--help`` imports nothing of it."""

from __future__ import annotations

import argparse
from typing import Any

_DESCRIPTION = """\
What calls of a model cost on this machine, beside the same model in a process
that does nothing else: by size, paced, from several callers, and where the time
of a call goes. Who is compared takes turns (A B C C B A).
"""
_EXAMPLES = """\
examples:
  isopod bench digits.pod                      its examples are what it is asked
  isopod bench net.onnx --sizes batch=1,8,64   made after what the model declares
  isopod bench net.py:Net --inputs images.npz --report net.html
  isopod bench net.py:Net --input x:float32:n,64 --sizes n=1,1k,64k --json
  isopod bench net.py:Net --problem net.toml --calls 200 --callers 1,8 --pace 10ms

in process:      the model alone in a process of its own environment
isopod:          ordinary arrays: one copy in
isopod, empty(): arrays of model.empty, which lie in shared memory already
isopod, latency and throughput (--placements): the worker on the core of its
                 caller, or on another one, as load(placement=) has it

exit codes: 0 it worked   2 it could not run   130 Ctrl-C
"""


def add_inputs(parser: Any) -> None:
    """Add what says what a model is asked; the same for ``isopod trace``."""
    asked = parser.add_argument_group("what it is asked")
    asked.add_argument(
        "--inputs", metavar="PATH", action="append", default=[], help="an .npz file, or a folder of them; repeatable"
    )
    asked.add_argument("--problem", metavar="FILE", help="a TOML file that says how inputs look")
    asked.add_argument(
        "--input", metavar="NAME:DTYPE:DIMS", action="append", default=[], help="describe an input: x:float32:batch,3"
    )
    asked.add_argument(
        "--sizes",
        metavar="SYMBOL=N,N",
        action="append",
        default=[],
        help="sizes of a symbol in the shapes (1k is 1024); one symbol may have several",
    )
    asked.add_argument("--random", metavar="N", type=int, default=0, help="make N samples of each size (1 by default)")
    asked.add_argument("--seed", metavar="N", type=int, default=0, help="the same seed makes the same samples")


def add_model(parser: Any) -> None:
    """Add how the model is loaded."""
    how = parser.add_argument_group("how it is loaded")
    how.add_argument("--env", metavar="PATH", help="a virtual environment or an interpreter to run it in")
    how.add_argument("--workers", metavar="N", type=int, help="processes that share the calls")
    how.add_argument("--sandbox", choices=("none", "limits", "strict"), help="as in isopod.load")
    how.add_argument("--device", metavar="NAME", help="cpu, or a GPU: cuda:0")
    how.add_argument("--timeout", metavar="SECONDS", type=float, help="of each call")


def add(commands: Any) -> None:
    """Add ``bench`` to the commands of ``isopod``."""
    bench = commands.add_parser(
        "bench",
        help="what calls of a model cost here, and where their time goes",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument("model", metavar="MODEL", help="as isopod.load takes it")
    add_inputs(bench)
    add_model(bench)
    run = bench.add_argument_group("how much")
    run.add_argument(
        "--seconds", metavar="SECONDS", type=float, default=10.0, help="of measuring, in all (10 by default)"
    )
    run.add_argument("--calls", metavar="N", type=int, help="of each kind, instead of --seconds")
    run.add_argument("--callers", metavar="N,N", default="1,2,4", help="threads that call at once (1,2,4)")
    run.add_argument("--pace", metavar="TIME", default="1ms", help="between paced calls (1ms; 0: none)")
    run.add_argument("--no-in-process", action="store_true", help="do not load it a second time, as a yardstick")
    run.add_argument(
        "--placements", action="store_true", help="load it twice more, to compare where workers run (placement=)"
    )
    out = bench.add_argument_group("what comes out")
    out.add_argument("--json", action="store_true", help="for a program to read")
    out.add_argument(
        "--report", metavar="FILE", help="plots: .html (with tables), .png, .svg, .pdf; needs isopod[plot]"
    )
