"""Micro-batching: the calls of several callers, written into one batch and answered by one run of the model."""

from isopod.runtime.batching.settings import Batch as Batch
