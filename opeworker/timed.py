"""A model that times itself: what it costs to call it in its own process, as the yardstick for what isolation adds.

It is loaded like any other, in the same environment and sandbox, by its own backend. But each call is a *turn*: the
model is called so many times with inputs that are copied out of shared memory first, and what comes back is how long
each of them took. So nothing of ours is in what is timed.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec

TURN = "isopod.turn"  # an input that no model can have: [calls, seconds of sleep before each]


class Timed:
    """Around a loaded model, whose life it shares."""

    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded
        self.inputs: List[TensorSpec] = []
        self.outputs: List[TensorSpec] = []
        self.open = True

    def __call__(self, inputs: Dict[str, Any]) -> Any:
        """Nanoseconds of each call, int64. Raises what the model raises."""
        import numpy as np

        turn = inputs.pop(TURN, None)
        if not isinstance(turn, list) or len(turn) != 2:
            raise SpecError(f"a model that times itself is told {TURN}: how many calls, and the pause before each")
        count, pause = int(turn[0]), float(turn[1])
        own = {name: np.array(value) if isinstance(value, np.ndarray) else value for name, value in inputs.items()}
        samples = np.zeros(count, np.int64)
        call, clock = self._loaded, time.perf_counter_ns
        for number in range(count):
            given = dict(own)
            if pause:
                time.sleep(pause)
            began = clock()
            returned = call(given)
            del returned  # letting go of the outputs is a part of the call, as it is for a caller of the application
            samples[number] = clock() - began
        return {"ns": samples}

    def close(self) -> None:
        self._loaded.close()
