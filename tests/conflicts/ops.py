"""C++ operators, compiled once with the headers of the framework that they are for, and kept.

They lie in isopod's own folder beside the environments, under a name that is made of all that went into them: the
source, the environment, the compiler. So a warm run compiles nothing, and a change of any of these compiles anew.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from conflicts.environments import had
from waits import GUARD

from isopod.runtime.environment import Prepared
from isopod.runtime.environment.store import home

HERE = Path(__file__).resolve().parent

# Each framework is asked how to compile for it: a program for its own interpreter that prints flags as JSON.
# The sysconfig of TensorFlow says it; that of Torch wants setuptools, so its few facts are put together here.
_TORCH = """
import json, os, torch
folder = os.path.dirname(torch.__file__)
include, abi = os.path.join(folder, "include"), int(torch.compiled_with_cxx11_abi())
standard = 14 if torch.__version__.startswith("1.") else 17
flags = ["-I" + include, "-I" + os.path.join(include, "torch", "csrc", "api", "include")]
flags += ["-D_GLIBCXX_USE_CXX11_ABI=%d" % abi, "-std=c++%d" % standard]
print(json.dumps([*flags, "-L" + os.path.join(folder, "lib"), "-ltorch", "-ltorch_cpu", "-lc10"]))
"""
_TENSORFLOW = """
import json, tensorflow, tensorflow.sysconfig as said
standard = ["-std=c++14"] if tensorflow.__version__.startswith("1.") else []
print(json.dumps([*standard, *said.get_compile_flags(), *said.get_link_flags()]))
"""


@dataclass(frozen=True)
class Family:
    """Two versions of a framework; ``namespaces``: those of its C++ that a symbol of it is in, as names are mangled."""

    name: str
    versions: tuple[str, str]
    asked: str
    namespaces: tuple[str, ...]
    error: str

    @property
    def source(self) -> Path:
        return HERE / f"{self.name}_op.cpp"

    @property
    def model(self) -> Path:
        return HERE.parent / "models" / f"{self.name}_op.py"


FAMILIES = [
    Family("torch", ("1.12.1", "2.13.0"), _TORCH, ("2at", "3c10", "5torch"), "OSError"),
    Family(
        "tensorflow",
        ("2.12.1", "2.15.1"),
        _TENSORFLOW,
        ("10tensorflow", "3tsl"),
        "tensorflow.python.framework.errors_impl.NotFoundError",
    ),
]


@functools.cache
def compiled(family: Family, version: str) -> Path:
    """The shared library of this family's operator for this version; compiles it if nobody has yet."""
    environment = had(f"{family.name} {version}")
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler (g++) on PATH")
    about = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    parts = [family.source.read_text(encoding="utf-8"), family.asked, str(environment.key), about]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    library = home() / "tests" / "ops" / f"{family.name}-{version}-{digest}.so"
    if not library.exists():
        library.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            part = Path(folder) / library.name
            _compile(compiler, family, environment, part)
            os.replace(part, library)
    return library


def _compile(compiler: str, family: Family, environment: Prepared, library: Path) -> None:
    command = [str(environment.executable), "-I", "-c", family.asked]
    variables = {**os.environ, **environment.variables}
    said = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=GUARD)
    assert said.returncode == 0, said.stderr
    flags: list[str] = json.loads(said.stdout)
    # no -rpath: what a library needs is in the process already, or its loading fails for what is not there
    command = [compiler, "-shared", "-fPIC", "-O1", "-w", str(family.source), "-o", str(library), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GUARD)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
