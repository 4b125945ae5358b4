"""Virtual environments made by hand in a moment: with the packages of this application, and modules of a test's own."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

MINOR = f"python{sys.version_info.major}.{sys.version_info.minor}"


def prefix_with(modules: Mapping[str, str], folder: Path, packages: str = sysconfig.get_paths()["purelib"]) -> Path:
    """A virtual environment with the modules (name → source) of its own, and all that lies in ``packages``."""
    site = folder / "lib" / MINOR / "site-packages"
    site.mkdir(parents=True)
    base = Path(sys.base_prefix, "bin", MINOR).resolve()
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\nexecutable = {base}\n")
    (site / "packages.pth").write_text(packages)
    for name, source in modules.items():
        (site / f"{name}.py").write_text(source)
    return folder
