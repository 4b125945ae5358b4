"""The same model as in ``holding``, in a file that imports torch."""

from __future__ import annotations

import torch  # noqa: F401
from holding import echo

__all__ = ["echo"]
