"""Comparison: several implementations of one problem on the same inputs, side by side."""
