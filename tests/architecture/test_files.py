"""What every product file keeps to: its size, its opening paragraph, and what has no place in it."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
from repository import ROOT, product_files

FILE_LINES = 400
FUNCTION_LINES = 70
MAY_PRINT = ("isopod/cli/", "isopod/demo/", "isopod/__main__.py")
BROAD = re.compile(r"^\s*except(\s*:|\s.*\b(Exception|BaseException)\b)")
LEFT_FOR_LATER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
# Paths of the machine on which a file was written mean nothing on the next one.
SOMEBODYS_PATH = re.compile(r"(?<![\w.$}])/(?:home|root|work|Users)/\w")

SOURCES = {str(path): (ROOT / path).read_text(encoding="utf-8") for path in product_files()}
TREES = {path: ast.parse(source) for path, source in SOURCES.items()}


def test_each_file_opens_with_a_paragraph_that_says_what_it_holds() -> None:
    assert [path for path, tree in TREES.items() if not (ast.get_docstring(tree) or "").strip()] == []


def test_each_file_has_one_reason_to_exist() -> None:
    """A file that is longer wants to be two, cut along its reasons."""
    long = {path: lines for path, source in SOURCES.items() if (lines := source.count("\n")) > FILE_LINES}
    assert long == {}


def test_functions_fit_on_a_page() -> None:
    """Without the docstring, which is read elsewhere."""
    long = [
        f"{path}:{node.lineno} {node.name}: {lines} lines"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := lines_of_code(node)) > FUNCTION_LINES
    ]
    assert long == []


def lines_of_code(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    told = 0 if docstring is None else (docstring.end_lineno or 0) - docstring.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - told


def test_only_the_command_line_prints() -> None:
    """Everything else logs or returns."""
    printed = [
        f"{path}:{node.lineno}"
        for path, tree in TREES.items()
        if not path.startswith(MAY_PRINT)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printed == []


def test_a_broad_except_says_where_the_error_goes() -> None:
    found = [f"{path}:{line}" for path, source in SOURCES.items() for line in uncommented_broad_excepts(source)]
    assert found == []


def uncommented_broad_excepts(source: str) -> list[int]:
    """Lines with ``except Exception`` (or broader) and no comment there, on the line before or on the line after."""
    lines = ["", *source.splitlines(), ""]
    return [
        number
        for number, line in enumerate(lines)
        if BROAD.match(line)
        and "#" not in line
        and not lines[number - 1].lstrip().startswith("#")
        and not lines[number + 1].lstrip().startswith("#")
    ]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("try:\n    pass\nexcept Exception:\n    pass", [3]),
        ("try:\n    pass\nexcept:\n    pass", [3]),
        ("try:\n    pass\nexcept (OSError, BaseException) as error:\n    pass", [3]),
        ("try:\n    pass\nexcept Exception:  # goes into the record\n    pass", []),
        ("try:\n    pass\nexcept Exception:\n    # goes into the record\n    pass", []),
        ("try:\n    pass\nexcept OSError:\n    pass", []),
    ],
)
def test_the_rule_of_broad_excepts(source: str, lines: list[int]) -> None:
    assert uncommented_broad_excepts(source) == lines


def repository_files() -> list[Path]:
    """What git would take: tracked files and new ones that are not ignored. Outside of git, the product files."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    names = [Path(name) for name in done.stdout.split("\0") if name]
    return [name for name in names if (ROOT / name).is_file()] or product_files()


def test_nothing_is_left_for_later_and_no_path_of_somebodys_machine() -> None:
    found = []
    for path in repository_files():
        if path.name == Path(__file__).name:
            continue
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if (path.suffix == ".py" and LEFT_FOR_LATER.search(line)) or SOMEBODYS_PATH.search(line):
                found.append(f"{path}:{number}: {line.strip()}")
    assert found == []
