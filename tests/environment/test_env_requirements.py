"""The numpy rule, the identity of requirements, and what uv's lines mean: pure functions, no process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from isopod.runtime.environment import BuildEvent
from isopod.runtime.environment.events import Reporter
from isopod.runtime.environment.requirements import complete, identity, normalise


@pytest.mark.parametrize(
    ("theirs", "given", "added"),
    [
        ([], ["numpy"], True),
        (["torch", "clash"], ["clash", "torch", "numpy"], True),
        (["numpy<2"], ["numpy<2"], False),
        (["numpy[extra]==1.0"], ["numpy[extra]==1.0"], False),
        (["numpy-financial"], ["numpy-financial", "numpy"], True),
        # one that may not apply to this Python does not count
        (['numpy<1.22; python_version < "3.8"'], ['numpy<1.22; python_version < "3.8"', "numpy"], True),
    ],
)
def test_numpy_is_added_last_unless_it_is_named(theirs: list[str], given: list[str], added: bool) -> None:
    wanted = complete(theirs)
    assert (list(wanted.requirements), wanted.added) == (given, added)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (" Torch ", "torch"),
        ("A_b.C [y,x] >= 1, <2", "a-b-c[x,y]<2,>=1"),
        ("a @ https://host/a-1-py3-none-any.whl", "a @ https://host/a-1-py3-none-any.whl"),
        ("a;python_version>'3.8'", 'a; python_version > "3.8"'),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert normalise(text) == normal
    assert normalise(normal) == normal


def test_identity_has_contents_but_no_password(make_wheel: Callable[..., Path], tmp_path: Path) -> None:
    assert "secret" not in identity("a @ https://me:secret@host/a-1-py3-none-any.whl")
    wheel = make_wheel(tmp_path, "a", "1", {"a.py": ""})
    before = identity(normalise(str(wheel)))
    make_wheel(tmp_path, "a", "1", {"a.py": "changed = True\n"})
    assert identity(normalise(str(wheel))) != before


def test_a_build_with_downloads_moves_a_bar() -> None:
    events: list[BuildEvent] = []
    reporter = Reporter(events.append)
    for line in (
        "Using Python 3.11.7 environment at: venv",
        "Resolved 7 packages in 299ms",
        "Downloading scikit-learn (9.1MiB)",
        "Downloading numpy (17.4MiB)",
        " Downloaded scikit-learn",
        " Downloaded numpy",
        "Prepared 7 packages in 1.26s",
        "Installed 7 packages in 132ms",
        " + numpy==1.26.4",
    ):
        reporter.read(line)
    assert [(event.stage, event.done, event.total) for event in events] == [
        ("resolve", 7, 7),
        ("download", None, None),  # local wheels are unpacked without a word of their own
        ("download", 0, 1),
        ("download", 0, 2),
        ("download", 1, 2),
        ("download", 2, 2),
        ("download", 2, 2),
        ("install", 7, 7),
    ]
    assert events[2].message == "Downloading scikit-learn (9.1MiB)"
