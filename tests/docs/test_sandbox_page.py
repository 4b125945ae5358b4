"""Each promise of docs/sandbox.md has a proof that exists: a test, or an attack that the table says is refused."""

from __future__ import annotations

import re

import pytest
from attacks.test_attacks import CELLS, SETTINGS, expected
from repository import ROOT

PAGE = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (?!promise |---)(.+?) \| (.+) \|$", re.MULTILINE)
PROOF = re.compile(r"(?P<attack>attack )?`(?P<name>\w+(?:\.py)?)`")


def section(title: str) -> str:
    start = PAGE.index(f"\n{title}\n")
    end = re.compile(rf"\n#{{2,{len(title.split(maxsplit=1)[0])}}} ").search(PAGE, start + 1)
    return PAGE[start : end.start() if end else None]


def all_tests() -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("profile", "title"),
    [("limits", "## `limits`, the default"), ("strict", "## `strict`"), ("processes", "### Processes")],
)
def test_each_promise_has_a_proof_that_exists(profile: str, title: str) -> None:
    text = section(title)
    if profile == "strict":
        text = text.replace(section("### Processes"), "")
    rows = ROW.findall(text)
    assert len(rows) >= 8
    tests, attacks = all_tests(), expected()
    for promise, proofs in rows:
        named = list(PROOF.finditer(proofs))
        assert named, promise
        assert not PROOF.sub("", proofs).strip(", "), f"{promise}: {proofs}"
        for proof in named:
            if proof["attack"]:
                cells = attacks[proof["name"]]
                settings = [setting for setting in SETTINGS if (setting, profile) in CELLS]
                assert all(cells[setting, profile] == "-" for setting in settings), f"{promise}: {proof['name']}"
            else:
                assert proof["name"] in tests, f"{promise}: {proof['name']}"


def test_what_is_named_elsewhere_on_the_page_exists_too() -> None:
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for name in re.findall(r"`(test_\w+(?:\.py)?)`", PAGE):
        assert name in (files if name.endswith(".py") else all_tests())
    assert set(re.findall(r"attack `(\w+)`", PAGE)) <= set(expected())


def test_what_is_open_in_strict_is_told() -> None:
    """All of it but the one that is no attack: threads must go on to work."""
    unpromised = section("## What none of them promises")
    open_ones = {attack for attack, cells in expected().items() if cells["root", "strict"] == "+"}
    assert set(re.findall(r"attack `(\w+)`", unpromised)) == open_ones - {"threads_survive"}


def test_the_readme_says_the_same() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "docs/sandbox.md" in readme
    assert "no security boundary" in readme
    assert "no security boundary" in PAGE
