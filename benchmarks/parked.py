"""``first`` in a worker that never spins: what spinning has to beat where every core is busy."""

from __future__ import annotations

import gc
from typing import Any

from isopod.ipc.spin import Spin


def first(x: Any) -> Any:
    """As in ``functions``."""
    return x[:1] + 1


for _found in gc.get_objects():
    if type(_found) is Spin:
        _found.budget_ns, _found.spins = 0, False
