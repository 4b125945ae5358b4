"""The README's example, typed in as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

BLOCK = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.network
def test_the_first_example_runs_as_written(tmp_path: Path) -> None:
    files = dict(BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    assert files.keys() == {"digits.py", "app.py"}
    assert len(files["app.py"].strip().splitlines()) <= 10
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, "app.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"1\.2\.2 \[\d \d \d\]", first)
    assert re.fullmatch(r"1\.9\.1 \[\d \d \d\]", second)
