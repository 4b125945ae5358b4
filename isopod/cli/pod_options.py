"""The words of ``isopod inspect`` and ``isopod pack``, apart from what they do, as for ``isopod env``."""

from __future__ import annotations

import argparse
from typing import Any

_PACKING = """\
MODEL is path/to/model.py:Name, a model file, or a SavedModel's folder. A
NAME:DTYPE:DIMS has sizes, symbols or 'any' as its dimensions; without dimensions it
is a scalar. What is not given is read from the model where it says it, and else taken
from --test and --expect. For several inputs, files, libraries and so on, give an
option again.
"""
_EXAMPLES = """\
examples:
  isopod pack digits.pod digits.py:Digits --requirement scikit-learn==1.9.1 \\
      --test images.npz --expect answer.npz --description 'Handwritten digits'
  isopod pack net.pod net.pt --versions '^2.1' --input image:float32:batch,3,224,224 \\
      --output classes:float32:batch,1000
  isopod pack rank.pod rank.onnx --requirement 'onnxruntime==1.23.*'
  isopod pack graph.pod model.pb --input x:float32:any --output y:float32:any \\
      --node x=input:0 --node y=out:0 --op my_op.so
"""


def add(commands: Any) -> None:
    """Add ``inspect`` and ``pack`` to the commands of ``isopod``."""
    inspect = commands.add_parser(
        "inspect",
        help="what is in a pod: what it takes and gives, where it runs, whether it is whole",
        description="Show a pod, or a Neuropod package, without unpacking it and without running anything of it. "
        "Exit code 1 if it is not as it was packed, or if an example fails.",
    )
    inspect.add_argument("pod", metavar="POD", help="a zip or a folder")
    inspect.add_argument("--json", action="store_true", help="for a program to read")
    inspect.add_argument("--no-verify", action="store_true", help="do not read every file for its checksum")
    inspect.add_argument("--files", action="store_true", help="list every file with its size")
    inspect.add_argument(
        "--test", action="store_true", help="load it in a fresh worker, and run its self-tests and examples"
    )
    inspect.add_argument("--env", metavar="PATH", help="for --test: a virtual environment, instead of the pod's own")

    pack = commands.add_parser(
        "pack",
        help="make a pod of a model",
        description=_PACKING,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pack.add_argument("place", metavar="POD", help="what to make; it must not exist")
    pack.add_argument("model", metavar="MODEL")
    pack.add_argument("--name", metavar="NAME", help="of the model; by default that of its class or file")
    pack.add_argument("--folder", action="store_true", help="make a folder, not a zip")
    pack.add_argument("--input", metavar="NAME:DTYPE:DIMS", action="append", default=[], help="what it takes")
    pack.add_argument("--output", metavar="NAME:DTYPE:DIMS", action="append", default=[], help="what it gives")
    pack.add_argument("--requirement", metavar="REQUIREMENT", action="append", default=[], help="as for pip")
    pack.add_argument("-r", "--requirements", dest="file", metavar="FILE", help="a requirement file, as pip's")
    pack.add_argument("--lock", metavar="FILE", help="a pylock.toml")
    pack.add_argument("--python", metavar="VERSION", help="3.10, '>=3.9,<3.12', or the path of an interpreter")
    pack.add_argument("--versions", metavar="RANGE", default="*", help="of the framework, as npm writes it: '^2.1'")
    pack.add_argument("--code", metavar="PATH", action="append", default=[], help="a file or folder beside the model's")
    pack.add_argument("--data", metavar="PATH", action="append", default=[], help="a file that the model reads")
    pack.add_argument(
        "--arg", metavar="NAME=JSON", action="append", default=[], help="for the class; {data} is the folder"
    )
    pack.add_argument(
        "--option", metavar="NAME=JSON", action="append", default=[], help="of the file's backend, as for load"
    )
    pack.add_argument("--op", metavar="PATH", action="append", default=[], help="a library of custom operations")
    pack.add_argument("--node", metavar="NAME=NODE", action="append", default=[], help="of a frozen graph")
    pack.add_argument("--init-op", metavar="NODE", action="append", default=[], help="of a frozen graph")
    pack.add_argument("--test", metavar="NPZ", help="inputs to try it with; kept in the pod as an example")
    pack.add_argument("--expect", metavar="NPZ", help="what it must give for them: all outputs, or those of --output")
    pack.add_argument("--description", metavar="TEXT")
    pack.add_argument("--licence", metavar="NAME", help="as SPDX writes it: BSD-3-Clause")
    pack.add_argument("--homepage", metavar="URL")
