"""What a package declares against what the model says: filled up where one is silent, refused where they contradict."""

from __future__ import annotations

import pytest

import isopod
from isopod.ipc.spec import TensorSpec
from isopod.opeworker.declared import agreed

OWN = [TensorSpec("x", "float32", (None, 3)), TensorSpec("mask", "bool", ("rows",), required=False)]


def test_a_silent_model_is_believed_to_fit() -> None:
    declared = [TensorSpec("x", "float32", ("batch", 3))]
    assert agreed("input", declared, [], any_name=False) == declared


def test_each_fills_up_what_the_other_leaves_open() -> None:
    declared = [TensorSpec("x", "", ("batch", None)), TensorSpec("mask")]
    assert agreed("input", declared, OWN, any_name=False) == [
        TensorSpec("x", "float32", ("batch", 3)),
        TensorSpec("mask", "bool", ("rows",), required=False),
    ]


def test_text_has_several_names() -> None:
    own = [TensorSpec("words", "text", (None,))]
    assert agreed("input", [TensorSpec("words", "string", ("n",))], own, any_name=False)[0].shape == ("n",)


@pytest.mark.parametrize(
    ("declared", "facts"),
    [
        (TensorSpec("x", "float64"), "declares the input 'x' as float64, and the model has it as float32"),
        (TensorSpec("x", "", ("n", 4)), r"'x' with the shape \(n, 4\), and the model has it with \(any, 3\)"),
        (TensorSpec("x", "", (3,)), r"with the shape \(3\), and the model has it with \(any, 3\)"),
        (TensorSpec("X"), "declares the input 'X', and the model has none of that name; it has x, mask"),
        (TensorSpec("mask"), "the model needs the input 'x', which its package does not declare"),
    ],
)
def test_a_contradiction_names_both(declared: TensorSpec, facts: str) -> None:
    with pytest.raises(isopod.SpecError, match=facts):
        agreed("input", [declared], OWN, any_name=False)


def test_outputs_may_be_left_out_and_any_name_may_be_taken() -> None:
    assert agreed("output", [TensorSpec("mask")], OWN, any_name=False)[0].dtype == "bool"
    assert agreed("input", [TensorSpec("x"), TensorSpec("z")], OWN, any_name=True)[1] == TensorSpec("z")
