"""The arguments of ``isopod``, and how a command ends: its exit code, and one clear line when it cannot go on.

Exit codes: 0 it worked, 1 it ran and something was not right, 2 it could not run, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence

from isopod import IsopodError
from isopod.cli import bench_options, compare_options, env_options, pod_options, trace_options
from isopod.cli.interrupts import heard_at_once
from isopod.cli.screen import Screen, version

_DESCRIPTION = """\
Each machine-learning model in a process of its own, with its own Python and its
own framework versions, called like a local function.
"""
_EXAMPLES = """\
try it:
  isopod demo                two scikit-learn pickles that exclude each other,
                             in one application (at first it downloads 100 MB)
  isopod demo --full         TensorFlow 1.15 and 2.21, PyTorch 1.12 and 2.13
  isopod doctor              what isopod finds on this machine
  isopod doctor --json | jq  the same for a program

in Python:
  import isopod
  env = isopod.Env(["scikit-learn==1.2.2", "numpy<2"], python="3.11")
  with isopod.load("model.py:Classifier", env=env) as model:
      answer = model(images=images)

exit codes:
  0 it worked   1 something was not right   2 it could not run   130 Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (``sys.argv`` by default) and return its exit code."""
    parser = _parser()
    words, program = trace_options.split(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words, argparse.Namespace(program=program))
    try:
        with heard_at_once():
            return _run(parser, arguments)
    except IsopodError as error:
        first, *rest = str(error).splitlines() or [type(error).__name__]
        print(f"isopod: {first}", file=sys.stderr)
        for line in rest:  # the resolver's own words, or a crash report: the one line is above
            print(f"  {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader (head, less) has left: not an error, but Python would complain about it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    # each is imported when it is asked for: --help and version answer at once
    if arguments.command == "demo":
        if arguments.full:
            from isopod.demo import frameworks

            return frameworks.run(Screen())
        from isopod.demo import pickles

        return pickles.run(Screen())
    if arguments.command == "doctor":
        from isopod.cli import doctor

        return doctor.run(Screen(), as_json=arguments.json)
    if arguments.command == "compare":
        from isopod.cli import compare

        return compare.run(Screen(), arguments)
    if arguments.command == "bench":
        from isopod.cli import bench

        return bench.run(Screen(), arguments)
    if arguments.command == "trace":
        from isopod.cli import trace

        return trace.run(Screen(), arguments)
    if arguments.command == "env":
        from isopod.cli import env

        return env.run(Screen(), arguments)
    if arguments.command in ("inspect", "pack"):
        from isopod.cli import pod

        return (pod.run_inspect if arguments.command == "inspect" else pod.run_pack)(Screen(), arguments)
    if arguments.command == "report":
        from isopod.cli import report

        return report.run(Screen(), arguments.file, as_json=arguments.json)
    if arguments.command is None:
        parser.print_help()
        return 0
    Screen().line(f"isopod {version()} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="isopod",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"isopod {version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    demo = commands.add_parser(
        "demo",
        help="see it work: models that exclude each other, a crash, the recovery",
        description="Load models that cannot live in one process, ask them all, kill one, and see what happens. "
        "What is built and trained is kept, so the second run takes seconds.",
    )
    demo.add_argument(
        "--full",
        action="store_true",
        help="TensorFlow 1.15 and 2.21 with PyTorch 1.12 and 2.13, checked against numpy (about 1 GB to download, "
        "5 GB on disk; what this machine has no Python for is left out)",
    )
    doctor = commands.add_parser(
        "doctor",
        help="what isopod finds on this machine",
        description="What isopod needs of this machine and finds on it: shared memory, cores, sandboxes, uv; Pythons "
        "for models; the store of environments. Exit code 1 if something that it needs is missing.",
    )
    doctor.add_argument("--json", action="store_true", help="for a program to read")
    compare_options.add(commands)
    bench_options.add(commands)
    trace_options.add(commands)
    env_options.add(commands)
    pod_options.add(commands)
    report = commands.add_parser(
        "report",
        help="read a crash report that was saved",
        description="Show a file that CrashReport.save, load(..., crash_reports=FOLDER) or ISOPOD_CRASH_REPORTS wrote.",
    )
    report.add_argument("file", metavar="FILE")
    report.add_argument("--json", action="store_true", help="for a program to read")
    commands.add_parser("version", help="the version of isopod, and of the Python it runs on")
    return parser
