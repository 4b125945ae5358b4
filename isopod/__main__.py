"""``python -m isopod`` and the ``isopod`` script: the command line, and nothing else."""

from __future__ import annotations

import sys

from isopod.cli.parser import main

if __name__ == "__main__":
    sys.exit(main())
