"""tools/install.py tells uv what pip was told."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from repository import ROOT


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("install_tool", ROOT / "tools/install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(module.sys, "prefix", str(tmp_path))
    return module


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    config = tmp_path / "pip.ini"
    config.write_text(
        "[global]\nindex-url = https://mirror/simple\nextra-index-url =\n  https://a/simple\n  https://b/simple\n"
        "[install]\nfind-links = /wheels /more\n"
    )
    return {"PIP_CONFIG_FILE": str(config), **more}


def test_the_configuration_files_are_handed_over(install: ModuleType, tmp_path: Path) -> None:
    told = install.uv_environment(environ(tmp_path))
    assert told["UV_INDEX_URL"] == "https://mirror/simple"
    assert told["UV_EXTRA_INDEX_URL"] == "https://a/simple https://b/simple"
    assert told["UV_FIND_LINKS"] == "/wheels,/more"
    assert told["UV_INDEX_STRATEGY"] == "unsafe-best-match"


def test_a_variable_of_pip_wins_over_its_files(install: ModuleType, tmp_path: Path) -> None:
    told = install.uv_environment(environ(tmp_path, PIP_INDEX_URL="https://other/simple", PIP_CERT="/ca.pem"))
    assert told["UV_INDEX_URL"] == "https://other/simple"
    assert told["SSL_CERT_FILE"] == "/ca.pem"


def test_a_variable_of_uv_wins_over_pip(install: ModuleType, tmp_path: Path) -> None:
    told = install.uv_environment(environ(tmp_path, UV_INDEX_URL="https://mine/simple"))
    assert told["UV_INDEX_URL"] == "https://mine/simple"


def test_devnull_means_no_files(install: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://mirror/simple\n")
    assert "index-url" in install.pip_options({})
    assert "index-url" not in install.pip_options({"PIP_CONFIG_FILE": "/dev/null"})
