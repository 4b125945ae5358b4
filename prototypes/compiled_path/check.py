"""Is the compiled path the same as the pure one? ``python prototypes/compiled_path/check.py`` says it.

First the product's own tests of rings, records, leases, loans and transfers, with the compiled functions and classes in
the place of the pure ones; then ``test_both``. Says why where it cannot be built.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

import put  # noqa: E402
from build import Unavailable, build  # noqa: E402

PRODUCT = ["ring", "record", "leases", "transfer", "spare", "notices", "arena"]
# A compiled end spins on a clock of its own, inside of ``receive``.
LEFT_OUT = "not spinning_ends_at_its_time_or_with_a_record"


class InPlace:
    """A plugin of pytest: before anything is collected, the compiled ones are there."""

    def __init__(self, extension: str) -> None:
        module = put.load(extension)
        put.replace_functions(module)
        put.replace_rings(module)


def main() -> int:
    import pytest

    os.chdir(ROOT)
    if len(sys.argv) > 1:
        tests = [f"tests/ipc/test_{name}.py" for name in PRODUCT]
        return int(pytest.main(["-k", LEFT_OUT, *tests], plugins=[InPlace(sys.argv[1])]))
    with tempfile.TemporaryDirectory(prefix="isopod-prototype-") as folder:
        try:
            extension = str(build(Path(folder)))
        except Unavailable as reason:
            print(f"The prototype is not checked: {reason}")
            return 0
        environment = {**os.environ, "PROTOTYPE_CHECKED": extension, "PYTHONPATH": str(HERE)}
        product = [sys.executable, str(HERE / "check.py"), extension]
        both = [sys.executable, "-m", "pytest", str(HERE / "test_both.py")]
        return max(subprocess.run(command, check=False, env=environment).returncode for command in (product, both))


if __name__ == "__main__":
    sys.exit(main())
