"""What a user may ask of a Python: a version, a range of versions, or one interpreter by its path.

Parsing and matching only, no file is touched: the search that uses it is in ``interpreter``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from isopod.ipc.errors import SpecError

Version = tuple[int, ...]

_PLAIN = re.compile(r"\d+(\.\d+){0,2}")
# A range is tested against a release whose patch number is unknown by trying each: no Python has had more than this.
_PATCHES = 40


@dataclass(frozen=True)
class PythonRequest:
    """One parsed request. Exactly one of ``path``, ``exact`` and ``specifier`` is set, or none for "any"."""

    text: str | None = None
    path: Path | None = None
    exact: Version | None = None
    specifier: SpecifierSet | None = None

    @classmethod
    def parse(cls, text: str | None) -> PythonRequest:
        """Parse ``"3.10"``, ``"3.10.13"``, ``">=3.9,<3.12"``, or a path.

        Raises ``SpecError`` for anything else.
        """
        if text is None:
            return cls()
        stripped = text.strip()
        if os.sep in stripped:
            path = Path(os.path.expanduser(stripped))
            if not path.is_absolute():
                raise SpecError(f"python={text!r}: give the absolute path of an interpreter")
            return cls(text=stripped, path=path)
        if _PLAIN.fullmatch(stripped):
            return cls(text=stripped, exact=tuple(int(part) for part in stripped.split(".")))
        try:
            specifier = SpecifierSet(stripped)
        except InvalidSpecifier:
            specifier = SpecifierSet()
        if not specifier:
            raise SpecError(
                f"python={text!r} is not a Python: give a version ('3.10', '3.10.13'), a range ('>=3.9,<3.12') "
                "or the absolute path of an interpreter"
            )
        return cls(text=stripped, specifier=specifier)

    def matches(self, version: Version) -> bool:
        """Whether a full version satisfies the request."""
        if self.exact is not None:
            return version[: len(self.exact)] == self.exact
        if self.specifier is not None:
            return self.specifier.contains(".".join(map(str, version)), prereleases=True)
        return True

    def may_match(self, hint: Version | None) -> bool:
        """Whether an interpreter may satisfy it of whose version only ``hint``, some leading numbers, is known."""
        if hint is None:
            return True
        if self.exact is not None:
            common = min(len(hint), len(self.exact))
            return hint[:common] == self.exact[:common]
        if self.specifier is not None and len(hint) == 2:
            return any(self.matches((*hint, patch)) for patch in range(_PATCHES))
        return len(hint) < 2 or self.matches(hint)
