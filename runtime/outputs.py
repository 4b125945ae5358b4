"""What a call returns: the model's outputs by name."""

from __future__ import annotations

from typing import Any


class Outputs(dict[str, Any]):
    """A dict of arrays (and plain values) by output name, in the model's order.

    ``outputs["scores"]``, or ``scores, labels = outputs.values()``. The arrays lie in shared memory, are writable,
    and are yours for as long as you keep them; ``value`` is the only output of a model that has just one.
    """

    @property
    def value(self) -> Any:
        """The one output. Raises ``ValueError`` if there are none or several."""
        (value,) = self.values()
        return value
