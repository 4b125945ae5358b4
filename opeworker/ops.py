"""Libraries of custom operations: loaded before the model, once each, and explained where they do not load.

A compiled operation fits one version of its framework. What the linker says of another one is a mangled name; what is
known beyond that is said here, and nothing is guessed: the name in C++, whose it is, the libraries that the operation
was linked with, and whether it was compiled for the other of the two C++ ABIs of GCC.
"""

from __future__ import annotations

import ctypes
import os
import re
from typing import Any, Callable, List, Optional, Sequence

from isopod.ipc.errors import SpecError
from isopod.opeworker import elf

_MISSING = re.compile(r"undefined symbol: ([\w.$@]+)")
_ABSENT = re.compile(r"(\S+\.so[\w.]*): cannot open shared object file")
# The major version of a framework is in the name of the library that an operation is linked with, where it has one.
_TENSORFLOW = re.compile(r"libtensorflow_framework\.so\.(\d+)")
# How names show GCC's two ABIs: https://gcc.gnu.org/onlinedocs/libstdc++/manual/using_dual_abi.html
_NEWER_ABI = re.compile(r"std::__cxx11::|\[abi:cxx11\]")
_OLDER_ABI = re.compile(r"\bstd::(string\b|basic_string<)")
_REMEDY = (
    "It does not fit this version: compile it with this version's headers, or load the model in the environment that "
    "it was compiled for"
)


class Ops:
    """Loads libraries for a framework: ``version`` is its name and version, for messages; ``cxx11`` which of GCC's two
    ABIs it was itself built with, None where it does not say.
    """

    def __init__(self, version: str, cxx11: Optional[bool] = None) -> None:
        self._version = version
        self._cxx11 = cxx11

    def load(self, libraries: Sequence[str], load: Callable[[str], Any]) -> List[Any]:
        """What ``load(path)`` made of each. Raises ``SpecError`` that says why a library does not fit."""
        loaded, seen = [], set()
        for library in libraries:
            real = os.path.realpath(library)
            if real in seen:
                continue
            seen.add(real)
            try:
                needs = elf.needed(library)
            except (OSError, elf.NotALibrary) as error:
                raise SpecError(f"the custom operations in {library} cannot be loaded: {error}") from error
            try:
                loaded.append(load(library))
            except Exception as error:  # goes to the caller of load(), with what is known about it
                raise SpecError(self.explain(library, needs, _whole_text(error))) from error
        return loaded

    def explain(self, library: str, needs: Sequence[str], reason: str) -> str:
        """Why a library that ``needs`` others does not load; ``reason`` is what the linker or the framework said."""
        head = f"the custom operations in {library} cannot be loaded by {self._version}"
        facts = []
        symbol = _MISSING.search(reason)
        absent = _ABSENT.search(reason)
        if symbol is not None:
            name = demangled(symbol[1])
            facts.append(f"it needs {name}, which {self._version} does not have")
            facts += self._abi(name)
        elif absent is not None:
            facts.append(f"it needs the library {absent[1]}, which is not here")
        else:
            facts.append(reason.strip())
        built = sorted({match[1] for match in map(_TENSORFLOW.match, needs) if match})
        if built:
            facts.append(f"it was linked with TensorFlow {', '.join(built)}.x")
        elif needs:
            facts.append(f"it was linked with {', '.join(needs)}, whose names tell no version")
        told = f"{head}: {'; '.join(facts)}"
        return f"{told}. {_REMEDY}" if symbol is not None or absent is not None else told

    def _abi(self, name: str) -> List[str]:
        newer = _NEWER_ABI.search(name) is not None
        if self._cxx11 is False and newer:
            return ["it was compiled with GCC's newer C++ ABI, and this framework with the older one"]
        if self._cxx11 and not newer and _OLDER_ABI.search(name):
            return ["it was compiled with GCC's older C++ ABI, and this framework with the newer one"]
        return []


def _whole_text(error: Optional[BaseException]) -> str:
    """An error's text with that of its causes: Torch has the linker's words in one of them."""
    parts = []
    while error is not None:
        parts.append(str(error).strip())
        error = error.__cause__ or error.__context__
    return ": ".join(dict.fromkeys(parts))


def demangled(symbol: str) -> str:
    """A C++ name as it is written, in quotes; as it is where the C++ library is not in this process."""
    plain = symbol.partition("@")[0]
    for name in (None, "libstdc++.so.6"):
        try:
            function = ctypes.CDLL(name).__cxa_demangle
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_void_p
        status = ctypes.c_int()
        found = function(plain.encode(), None, None, ctypes.byref(status))
        if status.value == 0 and found:
            text = (ctypes.string_at(found) or b"").decode("utf-8", "replace")
            free = ctypes.CDLL(None).free
            free.argtypes = [ctypes.c_void_p]
            free(found)
            return f"'{text}'"
    return f"'{plain}'"
