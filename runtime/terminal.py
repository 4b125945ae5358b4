"""What a terminal would have made of a worker's output, as plain text.

A model colours its lines, moves the cursor and rewrites its progress bars. In a log those codes are noise, and on the
screen of whoever reads the log they are orders to the terminal, given by a model that need not be trusted: retitle the
window, fill the clipboard, hide what came before. So none of them gets through, nor what has a line read in another
order than it was written.

The forms are those of ECMA-48, as xterm reads them: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
"""

from __future__ import annotations

import re

# No alternative can run over the beginning of another code, so the time taken grows with the length and no faster.
_CODES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, erasing
    # A string for the terminal (OSC, DCS, SOS, PM, APC), such as a title; one that never ends hides only its beginning.
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x9c|\x1b\\)"
    r"|\x1b[ -/]*[0-~]"  # the others
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # what is left of control characters, but for tabs and ends of lines
    # What shows the letters around it in another order (https://trojansource.codes), and Unicode's own ends of lines.
    "|[\u2028-\u202e\u2066-\u2069]"
)


def clean(text: str) -> str:
    """Text without codes and control characters, and such as every encoding of Unicode can take. Its lines and tabs
    stay."""
    if text.isprintable():
        return text
    # A lone surrogate is not printable, and a handler that writes UTF-8 would fail at it.
    return _CODES.sub("", text).encode("utf-8", "backslashreplace").decode()


def visible(line: bytes) -> str:
    r"""What a person would see of one line at its end: a progress bar rewrites it, by carriage returns.

    >>> visible(b"\r 50%|##  | 1/2\r100%|####| 2/2")
    '100%|####| 2/2'
    """
    for state in reversed(line.decode("utf-8", "backslashreplace").split("\r")):
        shown = clean(state)
        if shown:
            return shown
    return ""
