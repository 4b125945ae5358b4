"""The benchmark of a user's own model: what calls cost, beside the same model in its own process."""

from isopod.runtime.bench.bench import Benching, Plan, bench
from isopod.runtime.bench.results import Benchmark, Series

__all__ = ["Benching", "Benchmark", "Plan", "Series", "bench"]
