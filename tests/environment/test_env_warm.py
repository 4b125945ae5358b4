"""What is imported ahead, for its bytecode: no part of the key, once for all who ask, left out where it cannot be."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from isopod.ipc.errors import EnvironmentBuildError
from isopod.runtime.environment import BuildEvent, Env, Prepared, prepare
from isopod.runtime.environment.store import Store


def _env(index: Path, *requirements: str, warm: tuple[str, ...] = (), variables: dict[str, str] | None = None) -> Env:
    return Env(requirements, find_links=[str(index)], no_index=True, warm=warm, variables=variables or {})


def _bytecode(found: Prepared, module: str) -> list[Path]:
    return list(found.site_dirs[0].glob(f"__pycache__/{module}.*.pyc"))


def _facts(found: Prepared) -> bytes:
    return (found.prefix.parent / "meta.json").read_bytes()


def _warmed(found: Prepared) -> list[str]:
    return list(json.loads((found.prefix.parent / "warm.json").read_text()))


def test_two_that_differ_only_in_it_share_one_folder(machine: Path, index: Path) -> None:
    cold = prepare(_env(index, "needs-clash"))
    before = _facts(cold)
    events: list[BuildEvent] = []
    first = prepare(_env(index, "needs-clash", warm=("clash",)), on_event=events.append)
    assert (first.key, first.cached, first.warm) == (cold.key, True, ("clash",))
    assert [(event.stage, event.done, event.total) for event in events] == [
        ("warm", 0, 1),
        ("warm", 1, 1),
        ("done", None, None),
    ]
    assert _bytecode(first, "clash")
    assert not _bytecode(first, "needs_clash")
    assert _facts(first) == before
    assert "warm" not in json.loads(before)
    events.clear()
    second = prepare(_env(index, "needs-clash", warm=("clash", "needs_clash")), on_event=events.append)
    assert [event.message for event in events] == ["import needs_clash", "imported", f"using {first.prefix.parent}"]
    assert _warmed(second) == ["clash", "needs_clash"]
    events.clear()
    prepare(_env(index, "needs-clash", warm=("needs_clash",)), on_event=events.append)
    assert [event.stage for event in events] == ["done"]


def test_what_was_imported_at_the_build_is_not_imported_again(machine: Path, index: Path) -> None:
    built = prepare(_env(index, "clash", warm=("clash",)))
    assert _warmed(built) == ["clash"]
    (pyc,) = _bytecode(built, "clash")
    pyc.unlink()
    assert prepare(_env(index, "clash", warm=("clash",))).cached
    assert not pyc.exists()


def test_one_import_for_many_who_ask(machine: Path, make_wheel: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "count").write_text("")
    make_wheel(tmp_path, "numpy", "1.0", {"numpy/__init__.py": ""})
    make_wheel(tmp_path, "counts", "1.0", {"counts.py": f"open({str(tmp_path / 'count')!r}, 'a').write('x')\n"})
    prepare(_env(tmp_path, "counts"))
    ready = threading.Barrier(6)

    def ask(_: int) -> Prepared:
        ready.wait(30)
        return prepare(_env(tmp_path, "counts", warm=("counts",)))

    with ThreadPoolExecutor(6) as pool:
        assert all(found.cached for found in pool.map(ask, range(6)))
    assert (tmp_path / "count").read_text() == "x"


def test_a_late_import_that_fails_is_a_failed_build_and_costs_nothing(machine: Path, index: Path) -> None:
    built = prepare(_env(index, "broken", "clash"))
    before = _facts(built)
    for _ in range(2):
        with pytest.raises(EnvironmentBuildError, match="importing broken failed") as caught:
            prepare(_env(index, "broken", "clash", warm=("broken",)))
        assert "broken on purpose" in str(caught.value)
    assert _facts(built) == before
    assert not (built.prefix.parent / "warm.json").exists()
    assert prepare(_env(index, "broken", "clash", warm=("clash",))).key == built.key


def test_a_store_that_is_only_looked_in_stays_as_it_is(machine: Path, index: Path, tmp_path: Path) -> None:
    shared = Store(tmp_path / "shared")
    built = prepare(_env(index, "clash"), store=shared)
    before = sorted(path for path in shared.root.rglob("*"))
    found = prepare(_env(index, "clash", warm=("clash",)), store=Store(tmp_path / "mine", (shared.root,)))
    assert (found.prefix, found.cached) == (built.prefix, True)
    assert sorted(path for path in shared.root.rglob("*")) == before
    assert not (tmp_path / "mine").exists()


def test_a_record_that_cannot_be_read_is_made_anew(machine: Path, index: Path) -> None:
    built = prepare(_env(index, "clash", warm=("clash",)))
    for text in ("{", "3", "[1]"):
        (built.prefix.parent / "warm.json").write_text(text)
        prepare(_env(index, "clash", warm=("clash",)))
        assert _warmed(built) == ["clash"]
