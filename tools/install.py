"""Makes a virtual environment and installs requirements into it with uv, as pip would have been told to.

    python tools/install.py VENV REQUIREMENT...        (everything that uv pip install takes)

uv is three times as quick as pip, but reads none of pip's configuration. Machines behind a mirror have that
configuration, so the part that says where packages come from is handed over: PIP_* variables first, then the pip.conf
files, later ones over earlier ones as pip has it. A UV_* variable that is already set wins.

Runs on the standard library of any Python >= 3.10, without pip when uv is on PATH.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

# pip's option -> uv's variable, and what stands between several values there
HANDED_OVER = {
    "index-url": ("UV_INDEX_URL", " "),
    "extra-index-url": ("UV_EXTRA_INDEX_URL", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}


def pip_options(environ: dict[str, str]) -> dict[str, str]:
    """What pip was told, by option name; several values are parted by blanks."""
    own = environ.get("PIP_CONFIG_FILE")
    home = Path.home()
    files = [
        *(Path(folder) / "pip/pip.conf" for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf",
        Path(sys.prefix) / "pip.conf",
        *([Path(own)] if own else []),
    ]
    parser = configparser.RawConfigParser()
    if own != os.devnull:  # pip's own way to say: read no file
        parser.read(files, encoding="utf-8")
    options: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            options.update(parser.items(section))
    for name in HANDED_OVER:
        value = environ.get("PIP_" + name.upper().replace("-", "_"))
        if value:
            options[name] = value
    return {name: " ".join(value.split()) for name, value in options.items()}


def uv_environment(environ: dict[str, str]) -> dict[str, str]:
    """``environ`` with pip's options in uv's words."""
    told: dict[str, str] = {}
    for name, value in pip_options(environ).items():
        if name in HANDED_OVER and value:
            variable, between = HANDED_OVER[name]
            told[variable] = between.join(value.split())
    if "UV_EXTRA_INDEX_URL" in told:
        # pip takes the best version of all indexes; uv would stop at the first that knows the name.
        told["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {**told, **environ}


def find_uv(venv: Path) -> Path:
    """uv from the venv, from beside this Python or from PATH; or put into the venv by whichever pip there is."""
    python, uv = venv / "bin/python", venv / "bin/uv"
    for candidate in (uv, Path(sys.executable).with_name("uv")):
        if candidate.exists():
            return candidate
    on_path = shutil.which("uv")
    if on_path and subprocess.run([on_path, "--version"], capture_output=True, check=False).returncode == 0:
        return Path(on_path)
    quiet = ["-q", "--disable-pip-version-check"]
    outer = [sys.executable, "-m", "pip", "--python", str(python), *quiet, "install", "uv"]  # pip >= 22.3
    if subprocess.run(outer, stderr=subprocess.DEVNULL, check=False).returncode:
        for command in (["-m", "ensurepip"], ["-m", "pip", *quiet, "install", "uv"]):
            done = subprocess.run([str(python), *command], capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{done.stdout}{done.stderr}cannot install: {sys.executable} has neither pip nor uv beside it")
    return uv


def main(arguments: list[str]) -> int:
    venv, requirements = Path(arguments[0]).absolute(), arguments[1:]
    python = venv / "bin/python"
    if subprocess.run([str(python), "-c", ""], check=False).returncode if python.exists() else True:
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(venv)], check=True)
    command = [str(find_uv(venv)), "pip", "install", "--quiet", "--python", str(python), *requirements]
    return subprocess.run(command, env=uv_environment(dict(os.environ)), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
