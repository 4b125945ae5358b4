"""How far two answers are apart: against numpy's own words, one element at a time."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from isopod.runtime.comparison.differences import Agreement
from isopod.runtime.comparison.results import names_for
from isopod.runtime.problems import Tolerance


def compared(left: Any, right: Any, tolerance: Tolerance | None = None) -> Agreement:
    agreement = Agreement("y", tolerance)
    agreement.add("sample", left, right)
    return agreement


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """Two arrays of one float dtype, of which many elements are equal or near."""
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    left = draw(hnp.arrays(dtype, st.integers(1, 6), elements=hnp.from_dtype(np.dtype(dtype))))
    right = left.copy()
    for index in range(len(right)):
        how = draw(st.integers(0, 3))
        if how == 1:
            right[index] = draw(hnp.from_dtype(np.dtype(dtype)))
        elif how == 2:
            with np.errstate(all="ignore"):
                for _ in range(draw(st.integers(1, 3))):
                    right[index] = np.nextafter(right[index], dtype(np.inf))
    return left, right


@given(pairs(), st.sampled_from([None, (0.0, 0.0), (1e-3, 0.0), (0.0, 0.5)]))
def test_errors_are_those_that_python_computes_one_by_one(pair: tuple[Any, Any], limits: Any) -> None:
    left, right = pair
    tolerance = None if limits is None else Tolerance(*limits)
    found = compared(left, right, tolerance)
    equal = mismatches = odd = 0
    absolute: list[float] = []
    relative: list[float] = []
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        same = a == b or (math.isnan(a) and math.isnan(b))
        equal += same
        finite = math.isfinite(a) and math.isfinite(b)
        odd += not finite and not same
        if finite:
            absolute.append(abs(a - b))
            relative.append(abs(a - b) / abs(a) if a else 0.0)
        near = tolerance is not None and finite and abs(a - b) <= tolerance.atol + tolerance.rtol * abs(a)
        mismatches += not same and not near
    assert (found.elements, found.equal, found.not_finite, found.mismatches) == (len(left), equal, odd, mismatches)
    assert found.max_abs == (max(absolute) if absolute else None)
    assert found.max_rel == (max(relative) if absolute else None)
    assert len(found.first) == min(5, mismatches)
    assert [one.index for one in found.first] == sorted(one.index for one in found.first)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64, ml_dtypes.bfloat16])
@given(start=st.floats(-3, 3), steps=st.integers(0, 40))
def test_ulps_are_steps_to_the_next_value(dtype: Any, start: float, steps: int) -> None:
    real = np.float32 if dtype is np.complex64 else dtype
    left = np.array([start], real)
    right = left.copy()
    for _ in range(steps):
        right = np.nextafter(right, np.array([np.inf], real))
    assert compared(left.astype(dtype), right.astype(dtype)).max_ulp == steps


def test_ulps_across_zero_and_at_the_ends() -> None:
    tiny = np.nextafter(np.float32(0), np.float32(1))
    assert compared(np.float32(0.0), np.float32(-0.0)).max_ulp == 0
    assert compared(-tiny, tiny).max_ulp == 2
    top = np.finfo(np.float64).max
    assert compared(np.float64(-top), np.float64(top)).max_ulp == 2 * 0x7FEFFFFFFFFFFFFF
    assert compared(np.float64(1), np.float32(1)).max_ulp is None
    for step, mismatches in ((2**-23, 0), (2**-22, 1)):
        pair = np.array([1, 3], np.float32), np.array([1 + step, 3], np.float32)
        assert compared(*pair, Tolerance(ulp=1)).mismatches == mismatches


def test_whole_numbers_may_be_as_far_apart_as_there_are() -> None:
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    assert compared(np.int64(low), np.int64(high)).max_abs == 2.0**64
    assert compared(np.uint64(0), np.uint64(2**64 - 1)).max_abs == 2.0**64
    one_apart = compared(np.array([2**62, 5]), np.array([2**62 + 1, 5]))
    assert (one_apart.mismatches, one_apart.equal, one_apart.max_abs) == (1, 1, 1.0)


def test_nan_and_infinity_are_beyond_every_tolerance_unless_both_have_them() -> None:
    left = np.array([np.nan, np.inf, -np.inf, np.nan, np.inf, 1.0])
    right = np.array([np.nan, np.inf, -np.inf, 1.0, -np.inf, np.inf])
    found = compared(left, right, Tolerance(rtol=1e300, atol=1e300, ulp=2**63))
    assert (found.equal, found.not_finite, found.mismatches) == (3, 3, 3)
    assert [one.index for one in found.first] == [(3,), (4,), (5,)]
    assert found.failed


@pytest.mark.parametrize(
    ("left", "right", "structure", "mismatches"),
    [
        (np.zeros(3, "f4"), np.zeros(3, "f8"), ["dtype float32 and float64"], 0),
        (np.zeros(3), np.zeros((3, 1)), ["shape (3,) and (3, 1)"], 0),
        (np.zeros(3), np.array(["a", "b", "c"]), ["dtype float64 and <U1"], 3),
        (np.array(["a", "b"]), np.array(["a", "bcd"], object), [], 1),
        (np.array([b"a"]), np.array([b"abc"]), [], 1),
        ("one", "two", [], 1),
        (3, 3.0, ["dtype int64 and float64"], 0),
        (True, True, [], 0),
        ([1, "a"], [1, "a"], [], 0),
        ([1, "a"], [1, "b"], [], 1),
        (None, {}, [], 1),
        (np.zeros((0, 3)), np.zeros((0, 3)), [], 0),
    ],
)
def test_structure_and_what_is_no_number(left: Any, right: Any, structure: list[str], mismatches: int) -> None:
    found = compared(left, right)
    assert found.structure == structure
    assert found.mismatches == mismatches
    assert found.failed == bool(structure)


def test_samples_add_up_and_what_is_kept_is_bounded() -> None:
    agreement = Agreement("y", Tolerance(atol=0.1))
    for number in range(60):
        agreement.add(f"s{number}", np.zeros(5000), np.full(5000, number / 100))
    assert (agreement.elements, agreement.mismatches) == (300_000, 49 * 5000)
    assert agreement.max_abs == 0.59
    assert [one.sample for one in agreement.first] == ["s11"] * 5
    assert 0 < len(agreement.errors) <= 40_000


def test_names_are_as_short_as_they_can_be() -> None:
    assert names_for(["a/x.py:Net", "b/x.py:Other"]) == ["Net", "Other"]
    assert names_for(["a/x.py:Net", "b/y.py:Net"]) == ["x.py:Net", "y.py:Net"]
    assert names_for(["a/x.py:Net", "b/x.py:Net"]) == ["a/x.py:Net", "b/x.py:Net"]
    assert names_for(["a.py:N", "a.py:N"]) == ["a.py:N #1", "a.py:N #2"]
    assert names_for(["old.zip", "new.zip"]) == ["old.zip", "new.zip"]
