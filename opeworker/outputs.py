"""What a model returned, as values by name: the forms that are understood, whichever backend called it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from isopod.ipc.errors import SpecError


def name_outputs(returned: Any) -> dict[str, Any]:
    """What a model returned, as values by name. Raises ``SpecError`` for what has no name, saying what to return."""
    if isinstance(returned, dict):  # the usual one, and a quick one to see
        named = returned
    elif isinstance(returned, np.ndarray):
        return {"output": returned}
    elif isinstance(returned, tuple):
        fields = getattr(returned, "_fields", None) or [f"output_{index}" for index in range(len(returned))]
        return dict(zip(fields, returned))
    elif isinstance(returned, Mapping):
        named = dict(returned)
    elif returned is None:
        raise SpecError("the model returned None; return a dict of arrays, an array or a tuple of arrays")
    else:
        return {"output": returned}
    for name in named:
        if not isinstance(name, str):
            raise SpecError(f"the model returned a dict with the key {name!r}; output names are str")
    return named
