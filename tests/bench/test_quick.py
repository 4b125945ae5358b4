"""What counts as moved, of made-up numbers; and that calls can be counted at all."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from benchmarks.quick import counts
from benchmarks.quick.__main__ import BASELINE, main, report
from benchmarks.quick.baseline import COUNT, RATIO, Baseline, Figure, compare
from isopod.cli.screen import Screen


def baseline(counted_on: str = "here", **figures: Figure) -> Baseline:
    return Baseline({"processor": "an abacus"}, counted_on, figures)


def word(then: Figure, now: Figure, there: str = "here") -> str:
    (verdict,) = compare(baseline(there, it=then), baseline(it=now))
    return verdict.word


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        (Figure(RATIO, 2.0), Figure(RATIO, 2.0), "as before"),
        (Figure(RATIO, 2.0), Figure(RATIO, 2.09), "as before"),  # five percent are nobody's fault
        (Figure(RATIO, 2.0), Figure(RATIO, 2.2), "worse"),
        (Figure(RATIO, 2.0), Figure(RATIO, 1.8), "better"),
        (Figure(RATIO, 2.0, 0.3), Figure(RATIO, 2.5, 0.3), "as before"),  # what the runs themselves spread over
        (Figure(RATIO, 2.0, 0.3), Figure(RATIO, 2.7, 0.3), "worse"),
        (Figure(COUNT, 1000), Figure(COUNT, 1009), "as before"),
        (Figure(COUNT, 1000), Figure(COUNT, 1011), "worse"),
        (Figure(COUNT, 1000), Figure(COUNT, 980), "better"),
    ],
)
def test_what_has_moved(then: Figure, now: Figure, expected: str) -> None:
    assert word(then, now) == expected


def test_counts_of_another_python_are_not_compared_and_ratios_are() -> None:
    assert word(Figure(COUNT, 1000), Figure(COUNT, 2000), "elsewhere") == "not compared"
    assert word(Figure(RATIO, 1.0), Figure(RATIO, 2.0), "elsewhere") == "worse"


def test_figures_that_only_one_of_them_has() -> None:
    verdicts = compare(baseline(old=Figure(RATIO, 1.0)), baseline(fresh=Figure(RATIO, 1.0)))
    assert {verdict.name: verdict.word for verdict in verdicts} == {"old": "not measured", "fresh": "new"}


def test_a_figure_is_the_median_and_its_spread_is_of_the_middle_half() -> None:
    figure = Figure.of(RATIO, [1.0, 2.0, 3.0, 4.0, 500.0, 2.0, 3.0])
    assert (figure.value, figure.spread) == (3.0, 2.0)


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = baseline(it=Figure(RATIO, 1.5, 0.25), count=Figure(COUNT, 170_000.0))
    written.write(tmp_path / "baseline.json")
    assert Baseline.read(tmp_path / "baseline.json") == written


def test_the_baseline_of_this_tree_has_both_sides_and_both_kinds() -> None:
    figures = Baseline.read(BASELINE).figures
    assert {figure.kind for figure in figures.values()} == {RATIO, COUNT}
    for what in ("bytecodes", "instructions"):
        for side in ("caller", "worker"):
            assert any(name.startswith(what) and name.endswith(side) for name in figures)


def test_the_report_names_what_moved() -> None:
    then = baseline("elsewhere", slower=Figure(RATIO, 1.0), same=Figure(RATIO, 1.0), count=Figure(COUNT, 100))
    now = baseline(slower=Figure(RATIO, 2.0), same=Figure(RATIO, 1.0), count=Figure(COUNT, 999))
    stream = io.StringIO()
    report(Screen(stream), compare(then, now), now, ["Something is missing."])
    text = stream.getvalue()
    assert "worse: slower" in text
    assert "+100.0%" in text
    assert "worse: count" not in text
    assert "compared only with those of the same kind of Python; here: here" in text
    assert "Something is missing." in text


def test_the_exit_code_is_a_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.quick.__main__.measure", lambda **_: (baseline(it=Figure(RATIO, 2.0)), []))
    file = tmp_path / "baseline.json"
    arguments = ["--baseline", str(file)]
    assert main([*arguments, "--fail"]) == 0  # nothing to compare with
    baseline(it=Figure(RATIO, 1.0)).write(file)
    assert main(arguments) == 0
    assert main([*arguments, "--fail"]) == 1
    assert main([*arguments, "--update"]) == 0
    assert main([*arguments, "--fail"]) == 0


def test_without_valgrind_there_is_a_reason_and_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(counts.Unavailable, match="no valgrind"):
        counts.instructions()


def test_bytecodes_of_both_sides_are_counted() -> None:
    counted = {name: figure.value for name, figure in counts.bytecodes().items()}
    assert set(counted) == {
        f"bytecodes, {phase}, {side}"
        for phase in ("1 KB, small", "1 KB, x + 1, copies")
        for side in ("caller", "worker")
    }
    assert min(counted.values()) > 100, "no call is done with less"
