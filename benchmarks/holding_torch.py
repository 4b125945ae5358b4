"""The same model as in ``holding``, in a file that imports torch."""

from __future__ import annotations

import torch  # noqa: F401
from holding import echo  # type: ignore[import-not-found]  # a worker has this folder on its path

__all__ = ["echo"]
