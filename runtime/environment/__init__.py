"""Environments: which Python and which packages a model gets, built once and kept.

The rest of the runtime uses the names below and nothing else of this package. ``prepare`` is the way in.
"""

from __future__ import annotations

from .devices import narrowed
from .download import find_or_download
from .events import BuildEvent, Reporter
from .hold import Hold
from .interpreter import Interpreter, interpreters
from .interpreter import find as find_interpreter
from .prepared import Prepared, prepare
from .script import has_block as has_script_block
from .spec import Env
from .threads import Threads, thread_counts, with_threads

__all__ = [
    "BuildEvent",
    "Env",
    "Hold",
    "Interpreter",
    "Prepared",
    "Reporter",
    "Threads",
    "find_interpreter",
    "find_or_download",
    "has_script_block",
    "interpreters",
    "narrowed",
    "prepare",
    "thread_counts",
    "with_threads",
]
