"""The arguments of ``isopod env``. Apart from the commands themselves, so that ``--help`` imports nothing of them."""

from __future__ import annotations

import argparse
from typing import Any

_DESCRIPTION = """\
Environments are built once and kept in ISOPOD_HOME (~/.cache/isopod by default).
The folders in ISOPOD_STORES are looked in, too, and never written to. A KEY may be
shortened.
"""
_EXAMPLES = """\
examples:
  isopod env build --python 3.11 scikit-learn==1.2.2 'numpy<2'
  isopod env lock --python 3.11 torch==2.13.0 -o pylock.toml
  isopod env build --from old
  isopod env list
  isopod env gc --unused-for 14 --dry-run
  isopod env verify --contents
  isopod env python '>=3.9,<3.12'
"""


def add(commands: Any) -> None:
    """Add ``env`` and its own commands to those of ``isopod``."""
    env = commands.add_parser(
        "env",
        help="the store of environments: build, look, clean up",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    each = env.add_subparsers(dest="env_command", metavar="COMMAND", title="commands", required=True)
    build = _command(each, "build", "build one ahead of time, and print where it is")
    _wanted(build)
    build.add_argument(
        "--warm", metavar="MODULE", action="append", default=[], help="import it once, so that its bytecode is there"
    )
    lock = each.add_parser(
        "lock",
        help="write down which versions would be installed today",
        description="Resolve, install nothing, and write a pylock.toml (PEP 751) with the hash of each package.",
    )
    _wanted(lock)
    lock.add_argument("-o", "--output", metavar="FILE", help="standard output by default")
    there = _command(each, "list", "what is there: its Python, its size, when it was last used")
    there.add_argument("--project", action="store_true", help="what the project's isopod.toml names, built or not")
    _command(each, "show", "all that is known of one, its packages included").add_argument("key", metavar="KEY")
    remove = _command(each, "rm", "remove some; exit code 1 if a process uses one, which stays")
    remove.add_argument("keys", metavar="KEY", nargs="*")
    remove.add_argument("--all", action="store_true", help="all of them")
    collect = _command(
        each, "gc", "remove what killed builds left, and environments and unpacked pods that nobody has used for long"
    )
    collect.add_argument(
        "--unused-for", metavar="DAYS", type=float, default=30.0, help="how long that is (30 by default)"
    )
    collect.add_argument("--dry-run", action="store_true", help="only tell what would go")
    verify = _command(each, "verify", "whether they are as they were built; exit code 1 if not")
    verify.add_argument("keys", metavar="KEY", nargs="*", help="all of them by default")
    verify.add_argument("--contents", action="store_true", help="read every file, and compare its checksum")
    python = _command(each, "python", "the Pythons of this machine that a model can run on")
    python.add_argument("--download", action="store_true", help="let uv fetch VERSION where this machine has none")
    python.add_argument("request", metavar="VERSION", nargs="?", help="only the one that would be taken: 3.10, >=3.9")


def _command(commands: Any, name: str, what: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    command.add_argument("--json", action="store_true", help="for a program to read")
    return command


def _wanted(command: argparse.ArgumentParser) -> None:
    """What makes an ``Env``; the words are those of pip and uv."""
    command.add_argument("requirements", metavar="REQUIREMENT", nargs="*", help="as for pip: 'numpy<2', or a wheel")
    whole = command.add_mutually_exclusive_group()
    whole.add_argument("-r", "--requirements", dest="file", metavar="FILE", help="a requirement file, as pip's")
    whole.add_argument("--script", metavar="FILE", help="a Python file that says what it needs (PEP 723)")
    whole.add_argument("--from", dest="named", metavar="NAME", help="an environment of the project's isopod.toml")
    whole.add_argument("--lock", metavar="FILE", help="a pylock.toml, a uv.lock, or a requirement file with hashes")
    command.add_argument("--python", metavar="VERSION", help="3.10, '>=3.9,<3.12', or the path of an interpreter")
    command.add_argument("--download-python", action="store_true", help="let uv fetch it where this machine has none")
    command.add_argument("--constraint", metavar="REQUIREMENT", action="append", default=[], help="narrows the choice")
    command.add_argument(
        "--override", metavar="REQUIREMENT", action="append", default=[], help="replaces what packages ask for"
    )
    command.add_argument("--exclude-newer", metavar="DATE", help="nothing that was uploaded after that day")
    command.add_argument("--index-url", metavar="URL", help="as in pip; pip's own configuration counts, too")
    command.add_argument("--extra-index-url", metavar="URL", action="append", default=[], help="another one")
    command.add_argument(
        "--find-links", metavar="PLACE", action="append", default=[], help="a folder or a page with wheels"
    )
    command.add_argument("--no-index", action="store_true", help="look for packages in --find-links alone")
    command.add_argument(
        "--from-source", metavar="NAME", action="append", default=[], help="build this package, which runs its code"
    )
    command.add_argument("--allow-source", action="store_true", help="build any package that has no wheel")
    command.add_argument("--installer", choices=("uv", "pip"), help="what resolves and installs (uv, if it is there)")
