"""What the repository holds, read from disk and from setup.cfg: for the tests that check it."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN_FOLDERS = ("isopod", "runtime", "opeworker", "ipc")


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def folder_of_package() -> dict[str, str]:
    """The map of setup.cfg: ``isopod.runtime`` → ``runtime``."""
    pairs = (line.split("=") for line in setup_cfg()["options"]["package_dir"].split("\n") if line.strip())
    return {package.strip(): folder.strip() for package, folder in pairs}


def product_files() -> list[Path]:
    """Every .py file that is shipped, relative to the root."""
    found = []
    for folder in OWN_FOLDERS:
        for where, _, names in os.walk(ROOT / folder):  # does not follow links
            found += [(Path(where) / name).relative_to(ROOT) for name in names if name.endswith(".py")]
    return sorted(found)


def module_name(path: Path) -> str:
    """``runtime/environment/build.py`` → ``isopod.runtime.environment.build``; a package without ``__init__``."""
    packages = {folder: package for package, folder in folder_of_package().items()}
    parts = [packages[path.parts[0]], *path.with_suffix("").parts[1:]]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def wheel_name(path: Path) -> str:
    """Where a product file lies in a wheel."""
    packages = {folder: package for package, folder in folder_of_package().items()}
    return "/".join([*packages[path.parts[0]].split("."), *path.parts[1:]])
