"""Problems: named, versioned interfaces that several models can implement, and that calls are checked against."""

from isopod.runtime.problems.fields import Input, Output, Tolerance
from isopod.runtime.problems.problem import Problem

__all__ = ["Input", "Output", "Problem", "Tolerance"]
