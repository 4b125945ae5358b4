"""One target under atheris, a fuzzer that is guided by the branches which its bytes take.

    python guided.py TARGET CORPUS [libFuzzer's options]

``pip install '.[fuzz]'`` installs it where it has a wheel. An exception that is not allowed ends it, and leaves the
bytes that led to it behind.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["isopod.ipc", "isopod.runtime"]):
    from fuzz.targets import Wire, hit


def main() -> None:
    name = sys.argv.pop(1)
    wire = Wire()

    def once(data: bytes) -> None:
        hit(name, wire, data)

    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
