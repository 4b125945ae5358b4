"""Comparison: several implementations of one problem on the same inputs, side by side."""

from isopod.runtime.comparison.compare import Comparing, compare, limit_of
from isopod.runtime.comparison.results import Comparison, Failure, Implementation
from isopod.runtime.comparison.samples import collect

__all__ = ["Comparing", "Comparison", "Failure", "Implementation", "collect", "compare", "limit_of"]
