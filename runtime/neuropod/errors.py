"""One error for what Neuropod raised as ``RuntimeError`` here and as ``ValueError`` there: it is both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from isopod.ipc.errors import IsopodError, SpecError


class NeuropodError(SpecError, RuntimeError):
    """Something that was asked for does not exist or does not fit: a package, its inputs, its expected outputs."""


@contextlib.contextmanager
def raised_as_theirs(*, all_errors: bool = False) -> Iterator[None]:
    """A ``SpecError`` goes on as a ``NeuropodError``; with ``all_errors`` every other error of ours, too."""
    try:
        yield
    except NeuropodError:
        raise
    except IsopodError as error:
        if not all_errors and not isinstance(error, SpecError):
            raise
        raise NeuropodError(str(error)) from error
