"""Where Neuropod had ``load_neuropod``: ``from isopod.neuropod.loader import load_neuropod``."""

from isopod.runtime.neuropod.loader import Neuropod, load_neuropod

__all__ = ["Neuropod", "load_neuropod"]
