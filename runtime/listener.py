"""Who hears of a worker's life: what a session asks of the fleet that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from isopod.runtime.session import Session


class Listener(Protocol):
    """None of these may block: the monitor thread calls them."""

    def on_ready(self, session: Session) -> None: ...
    def on_ended(self, session: Session) -> None: ...  # its death is known, and callers are told next
    def on_gone(self, session: Session) -> None: ...  # callers are told, or are about to hear it
    def on_worn(self, session: Session) -> None: ...
