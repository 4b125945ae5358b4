"""The others, in the same run: ``python -m benchmarks.peers`` calls the same functions through isopod and through each.

``contract`` is what a peer is, ``kinds`` holds one small file for each, and ``roster`` lists them with what they need.
Each runs in a process of its own, in its own environment (``driver``); ``conductor`` lets them take turns.
"""
