"""The day up to which packages count: an RFC 3339 date or date-time, made one instant that is the same everywhere.

uv takes a bare date as one in the machine's own time zone. Two machines would then build two environments of one
spec, so a date is the whole of that day in UTC here.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from isopod.ipc.errors import SpecError

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d+))?([Zz]|[+-]\d{2}:\d{2})")


def instant(text: str) -> str:
    """Return the first instant that is too new, in UTC. Raises ``SpecError`` for what is no RFC 3339 date or time.

    >>> instant("2024-02-28"), instant("2024-02-29T02:00:00+02:00")
    ('2024-02-29T00:00:00Z', '2024-02-29T00:00:00Z')
    """
    stripped = text.strip()
    try:
        if _DATE.fullmatch(stripped):
            moment = datetime.fromisoformat(stripped).replace(tzinfo=timezone.utc) + timedelta(days=1)
        elif match := _TIME.fullmatch(stripped):
            date, time, fraction, zone = match.groups()
            offset = "+00:00" if zone in "Zz" else zone
            micros = (fraction or "0")[:6].ljust(6, "0")  # Python 3.10 reads six digits and no Z
            moment = datetime.fromisoformat(f"{date}T{time}.{micros}{offset}").astimezone(timezone.utc)
        else:
            raise ValueError("it has neither of the two forms")
    except (ValueError, OverflowError) as error:
        raise SpecError(
            f"exclude_newer={text!r} is not a date: give one as '2024-02-29' or '2024-02-29T12:00:00Z' ({error})"
        ) from error
    return moment.replace(tzinfo=None).isoformat() + "Z"
