"""Whether anything is recorded just now: one name, so that a call in an application that records nothing pays one look.

``active`` hears of each call when it is answered or lost, and of each worker when it is ready or dead. It must be
quick, and must not raise: it is called with locks held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isopod.runtime.observe.recorder import Recorder

VARIABLE = "ISOPOD_TRACE"  # of the environment: the file that an application is to be recorded to

active: Recorder | None = None
