"""What the documents name is there: files, folders, make targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from repository import ROOT

DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
PATH = re.compile(r"\.?[\w-][\w.-]*(/[\w.-]*)+|[\w-]+\.(md|toml|cfg)|Makefile|LICENSE")
THEIRS = ("isopod.toml",)  # plain names of files that a user's project has

each_document = pytest.mark.parametrize("document", DOCUMENTS)


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def in_code(text: str) -> list[str]:
    """Inline code, and the lines of indented and fenced blocks, without comments."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    blocks.append("\n".join(re.findall(r"^    (.*)$", outside, re.MULTILINE)))
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [*re.findall(r"`([^`\n]+)`", outside), *filter(None, lines)]


def test_the_documents_are_there() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/sandbox.md", "docs/speed.md"} <= set(DOCUMENTS)


@each_document
def test_make_targets_exist(document: str) -> None:
    named = [match for code in in_code(read(document)) for match in re.findall(r"^\$? ?make ([a-z][\w-]*)", code)]
    assert set(named) <= make_targets()


def test_help_names_each_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert make_targets() - {"help", "links"} == set(re.findall(r"@echo '  make ([\w-]+) ", makefile))


@each_document
def test_links_lead_somewhere(document: str) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", read(document))
    folder = (ROOT / document).parent
    assert [target for target in targets if "://" not in target and not (folder / target).exists()] == []


@each_document
def test_named_files_exist(document: str) -> None:
    """A path counts as one of ours when it starts in one of our folders, or is a document's plain name."""
    ours = {entry.name for entry in ROOT.iterdir()}
    named = [code for code in in_code(read(document)) if PATH.fullmatch(code) and code not in THEIRS]
    named = [code for code in named if "/" not in code or Path(code).parts[0] in ours]
    assert [code for code in named if not (ROOT / code).exists()] == []
