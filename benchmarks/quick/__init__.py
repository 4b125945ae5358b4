"""What moved: ``python -m benchmarks.quick`` compares this tree with ``benchmarks/baseline.json`` in under two minutes.

``ratios`` are isopod against yardsticks of the same run, so that what else the machine does cancels out. ``counts`` are
instructions and bytecodes of one call, which do not depend on the neighbours at all. ``baseline`` compares.
"""
