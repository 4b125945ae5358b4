"""Lines without what was meant for a terminal, as a table and for any bytes."""

from __future__ import annotations

import unicodedata

import pytest
import strategies  # noqa: F401  (its profile of hypothesis)
from hypothesis import example, given
from hypothesis import strategies as st

from isopod.runtime.terminal import clean, visible

KEPT = "\t\n"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"plain", "plain"),
        (b"", ""),
        (b"\xf0\x9f\xa6\x90 and \xc3\xa9", "🦐 and é"),
        (b"\xff not UTF-8", "\\xff not UTF-8"),
        (b"ends by the book\r", "ends by the book"),
        (b"\ta\tb", "\ta\tb"),
        # carriage returns: what stands there at the end
        (b"\r  0%|    | 0/2\r 50%|##  | 1/2\r100%|####| 2/2", "100%|####| 2/2"),
        (b"loading...\rdone      \x1b[K", "done      "),
        (b"done\r\x1b[0m", "done"),
        (b"\r\r\r", ""),
        (b"\x08\x08\x08\r 5/10 [==>...]", " 5/10 [==>...]"),
        # CSI
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b[38;2;255;0;0mred\x1b[m", "red"),
        (b"\x1b[38:5:1mred", "red"),
        (b"\x1b[?25lhidden\x1b[?25h", "hidden"),
        (b"\x1b[A\x1b[2K\x1b[1;1Hup", "up"),
        (b"\x1b[!p\x1b[0 qsoft", "soft"),
        (b"\xc2\x9b31mred", "red"),
        (b"an end\x1b[", "an end"),
        # OSC and the other strings
        (b"\x1b]0;a title\x07text", "text"),
        (b"\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b]52;c;Zm9v\x07copied", "copied"),
        (b"\xc2\x9d0;a title\xc2\x9ctext", "text"),
        (b"\x1bP1$r0m\x1b\\text", "text"),
        (b"\x1b]0;it never ends", "0;it never ends"),
        (b"\x1b]0;one\x1b]0;two\x07text", "0;onetext"),
        # others
        (b"\x1b(B\x1b7\x1b8\x1bMa", "a"),
        (b"\x1bc\x1b", ""),
        (b"a\0b\x07c\x7fd\xc2\x85e", "abcde"),
        # not of a terminal: another order of what is read, another end of a line
        ("user\u202e \u2066// refused\u2069 \u2066granted".encode(), "user // refused granted"),
        ("one\u2028two\u2029".encode(), "onetwo"),
        ("\u05d0\u200f\u05d1".encode(), "\u05d0\u200f\u05d1"),  # a mark that such a script needs
    ],
)
def test_what_a_person_would_see(line: bytes, shown: str) -> None:
    assert visible(line) == shown


def controls(text: str) -> set[str]:
    embeds = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    of = [(letter, unicodedata.category(letter), unicodedata.bidirectional(letter)) for letter in text]
    return {letter for letter, kind, order in of if kind in ("Cc", "Cs", "Zl", "Zp") or order in embeds} - set(KEPT)


PIECES = st.sampled_from(
    [b"\x1b", b"\x1b[", b"\x1b]", b"\x07", b"\x1b\\", b"\xc2\x9b", b"\xc2\x9d", b"m", b"0;", b"\r"]
)


@given(st.binary() | st.lists(PIECES).map(b"".join))
@example(b"\x1b\x1b[[mm")
@example(b"\x1b[\x1b[m31m")
def test_no_bytes_get_a_control_character_through(line: bytes) -> None:
    assert not controls(visible(line))


@given(st.text(st.characters()))
def test_no_text_gets_a_control_character_through_and_lines_stay(text: str) -> None:
    cleaned = clean(text)
    assert not controls(cleaned)
    cleaned.encode()


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))
def test_what_is_no_control_character_stays(text: str) -> None:
    assert clean(text) == text
    assert visible(text.encode()) == text


@pytest.mark.parametrize(
    "unit", [b"\x1b]", b"\xc2\x9d", b"\x1b[", b"\x1b[0", b"\x1b ", b"\x1bP0", b"\xc2\x9b0 ", b"\r"]
)
def test_the_time_grows_with_the_length_alone(unit: bytes) -> None:
    """Were it to grow with the square, this would take minutes."""
    assert not controls(visible(unit * 200_000))
