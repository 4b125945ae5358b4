"""Where packages come from: pip's configuration read as pip does, joined with uv's variables, secrets kept out."""

from __future__ import annotations

from pathlib import Path

import pytest

from isopod.ipc.errors import SpecError
from isopod.runtime.environment import Env, pipconfig
from isopod.runtime.environment.pipconfig import PipConfig
from isopod.runtime.environment.sources import merge, resolver_environment
from isopod.runtime.environment.urls import redact


def _write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_files_are_read_in_pips_order(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}
    _write(tmp_path / "xdg/pip/pip.conf", "[global]\nindex-url = https://site/simple\ntrusted-host = a b\n")
    _write(tmp_path / "home/.pip/pip.conf", "[global]\nindex-url = https://old/simple\nproxy = p:1\n")
    _write(tmp_path / "home/.config/pip/pip.conf", "[global]\nindex_url = https://user/simple\n")
    assert pipconfig.read(environ).index_url == "https://user/simple"
    assert pipconfig.read(environ).proxy == "p:1"
    assert pipconfig.read(environ).trusted_hosts == ("a", "b")

    chosen = _write(
        tmp_path / "chosen", "[global]\nindex-url = https://chosen\n[install]\nindex-url = https://install\n"
    )
    environ["PIP_CONFIG_FILE"] = str(chosen)
    assert pipconfig.read(environ).index_url == "https://install"
    environ["PIP_INDEX_URL"] = "https://variable"
    assert pipconfig.read(environ).index_url == "https://variable"


def test_the_null_device_switches_all_files_off(tmp_path: Path) -> None:
    _write(tmp_path / ".config/pip/pip.conf", "[global]\nindex-url = https://user/simple\n")
    assert pipconfig.read({"HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}) == PipConfig()


def test_lists_and_switches(tmp_path: Path) -> None:
    text = (
        "[global]\nextra-index-url =\n    https://a/simple\n    https://b/simple\nno-index = yes\nfind-links = /x /y\n"
    )
    file = _write(tmp_path / "pip.conf", text)
    config = pipconfig.read({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(file), "PIP_FIND_LINKS": "/z"})
    assert config.extra_index_urls == ("https://a/simple", "https://b/simple")
    assert config.find_links == ("/z",)
    assert config.no_index


def test_a_broken_file_counts_as_empty(tmp_path: Path) -> None:
    file = _write(tmp_path / "pip.conf", "index-url without a section\n")
    assert pipconfig.read({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(file)}).find_links == ()


def test_pip_is_handed_over(tmp_path: Path) -> None:
    cert = _write(tmp_path / "ca.pem", "")
    constraints = _write(tmp_path / "constraints.txt", "clash<2\n")
    pip = PipConfig(
        index_url="https://me:secret@mirror/simple",
        extra_index_urls=("https://extra/simple",),
        find_links=(str(tmp_path),),
        cert=str(cert),
        proxy="proxy:3128",
        trusted_hosts=("mirror",),
        constraints=(str(constraints),),
    )
    sources = merge(Env(), pip, {})
    assert sources.variables == {
        "UV_INDEX_URL": "https://me:secret@mirror/simple",
        "UV_EXTRA_INDEX_URL": "https://extra/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": tmp_path.as_uri(),
        "UV_CONSTRAINT": str(constraints),
        "SSL_CERT_FILE": str(cert),
        "ALL_PROXY": "http://proxy:3128",
        "UV_INSECURE_HOST": "mirror",
    }
    assert "secret" not in str(sources.identity)
    assert not sources.no_index
    before = sources.identity
    constraints.write_text("clash<3\n", encoding="utf-8")
    assert merge(Env(), pip, {}).identity != before, "the contents of a constraint file are part of the key"


def test_uvs_own_variables_win_over_pip_and_env_wins_over_both() -> None:
    pip = PipConfig(
        index_url="https://pip/simple", extra_index_urls=("https://pip-extra",), find_links=("https://pip",)
    )
    theirs = {
        "UV_DEFAULT_INDEX": "https://uv/simple",
        "UV_EXTRA_INDEX_URL": "https://uv-extra",
        "UV_FIND_LINKS": "https://uv",
        "UV_INDEX_STRATEGY": "first-index",
    }
    assert merge(Env(), pip, theirs).variables == {
        "UV_EXTRA_INDEX_URL": "https://uv-extra",
        "UV_INDEX_STRATEGY": "first-index",
        "UV_FIND_LINKS": "https://uv",
    }
    env = Env(index_url="https://env/simple", extra_index_urls=["https://env-extra"], find_links=["https://env"])
    variables = merge(env, pip, theirs).variables
    assert variables["UV_INDEX_URL"] == variables["UV_DEFAULT_INDEX"] == "https://env/simple"
    assert variables["UV_EXTRA_INDEX_URL"] == "https://env-extra https://uv-extra"
    assert variables["UV_FIND_LINKS"] == "https://env,https://uv"


def test_what_pip_would_skip_is_left_out_and_noted(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    pip = PipConfig(extra_index_urls=(f"file://{gone}", "https://extra"), find_links=(gone,), cert=gone)
    sources = merge(Env(), pip, {})
    assert sources.variables == {"UV_EXTRA_INDEX_URL": "https://extra", "UV_INDEX_STRATEGY": "unsafe-best-match"}
    assert len(sources.notes) == 2
    assert all(gone in note for note in sources.notes)


def test_what_the_user_named_here_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="gone"):
        merge(Env(find_links=[str(tmp_path / "gone")]), PipConfig(), {})


def test_folders_with_awkward_names_survive(tmp_path: Path) -> None:
    folder = tmp_path / "a b, c"
    folder.mkdir()
    assert "," not in merge(Env(find_links=[str(folder)]), PipConfig(), {}).variables["UV_FIND_LINKS"]


def test_the_resolver_does_not_see_other_environments(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "UV_PYTHON", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "automatic")
    environment = resolver_environment(merge(Env(), PipConfig()))
    assert not {"VIRTUAL_ENV", "PYTHONPATH", "UV_PYTHON", "PIP_INDEX_URL"} & set(environment)
    assert environment["UV_PYTHON_DOWNLOADS"] == "never"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:word@host/simple", "https://host/simple"),
        ("git+https://token@host/x", "git+https://host/x"),
        ("two https://a:b@c/ and https://d@e/", "two https://c/ and https://e/"),
        ("https://a:p@ss@host/", "https://host/"),
        ("https://host/path@v1", "https://host/path@v1"),
    ],
)
def test_redact(text: str, shown: str) -> None:
    assert redact(text) == shown
