"""Pods: models on disk, in the layout that Neuropod's packages have, and a section of our own.

The rest of the runtime uses the names below. ``open_pod`` is the way in; nothing of a pod is run here.
"""

from __future__ import annotations

from .config import Config
from .pod import Pod, at, open_pod, peek

__all__ = ["Config", "Pod", "at", "open_pod", "peek"]
