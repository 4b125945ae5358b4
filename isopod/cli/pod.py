"""``isopod inspect`` and ``isopod pack``: pods, for people and (``--json``) for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isopod import Env, SpecError, TensorSpec, pack
from isopod.cli.screen import Screen, amount
from isopod.runtime.pods import examples, open_pod, trial
from isopod.runtime.pods.contents import Folder
from isopod.runtime.pods.inspecting import Inspection, inspect

_MOST_FILES = 5  # shown, of the largest


def run_inspect(screen: Screen, arguments: argparse.Namespace) -> int:
    """Show a pod. Exit code 1 if it is not whole, or an example fails."""
    found = inspect(arguments.pod, verify=not arguments.no_verify)
    tests = _tried(arguments) if arguments.test and not found.problem else None
    bad = bool(found.problem) or any(ran.problem for ran in tests or ())
    if arguments.json:
        facts = found.facts()
        if tests is not None:
            facts["tests"] = [{"name": ran.name, "compared": ran.compared, "problem": ran.problem} for ran in tests]
        screen.line(json.dumps(facts, indent=2))
        return int(bad)
    _show(screen, found, all_files=arguments.files)
    _show_tests(screen, found, tests, asked=arguments.test)
    return int(bad)


def _tried(arguments: argparse.Namespace) -> list[trial.Ran]:
    opened = open_pod(Path(arguments.pod).expanduser().absolute())
    try:
        names = examples.names(Folder(opened.folder))
        shown = {name: examples.read(opened.folder, name) for name in names}
        return list(trial.run(opened.place, opened.config, shown, env=arguments.env))
    finally:
        opened.release()


def _show(screen: Screen, found: Inspection, *, all_files: bool) -> None:
    says = found.config
    screen.line(screen.style(says.name, "bold"))
    metadata = says.section.metadata
    if "description" in metadata:
        screen.line(f"  {metadata['description']}")
    kind = "zip" if found.packed else "folder"
    unpacked = f", {_amount(sum(found.sizes.values()))} unpacked" if found.packed else ""
    rows = [
        ("where", f"{found.place} ({kind}, {_amount(found.size)}{unpacked})"),
        ("platform", says.platform if says.versions == "*" else f"{says.platform} {says.versions}"),
        ("environment", _environment(found)),
        ("ops", ", ".join(says.ops)),
        ("limits", _pairs(says.section.limits)),
        ("sandbox", _pairs(says.section.sandbox)),
        ("problem", " ".join(says.section.problem.get(key, "") for key in ("name", "version")).strip()),
        ("licence", metadata.get("licence", "")),
        ("homepage", metadata.get("homepage", "")),
        ("digest", f"sha256:{found.digest}" if found.digest else ""),
    ]
    for name, value in rows:
        if value:
            screen.line(f"  {screen.style(f'{name:<11}', 'dim')}  {value}")
    for title, specs in (("inputs", says.inputs), ("outputs", says.outputs)):
        screen.heading(title)
        width = max((len(spec.name) for spec in specs), default=0)
        for spec in specs:
            screen.line(f"  {spec.name:<{width}}  {spec.dtype} {_shape(spec)}")
    screen.heading("files")
    largest = sorted(found.sizes.items(), key=lambda item: (-item[1], item[0]))
    for name, size in sorted(found.sizes.items()) if all_files else largest[:_MOST_FILES]:
        screen.line(f"  {_amount(size):>9}  {name}")
    if len(largest) > _MOST_FILES and not all_files:
        screen.line(f"  {'':>9}  and {len(largest) - _MOST_FILES} more (--files)")
    screen.line()
    _show_verified(screen, found)


def _show_verified(screen: Screen, found: Inspection) -> None:
    if found.problem:
        screen.line(f"{screen.mark(False)} {found.problem}")
    elif found.verified:
        screen.line(f"{screen.mark(True)} every file is as the manifest says")
    elif found.digest:
        screen.line(f"{screen.mark(None)} it has no manifest to be held against")
    else:
        screen.line(f"{screen.mark(None)} not verified")
    if found.pickled:
        screen.line(f"{screen.mark(None)} it has test data in a pickle, which is never opened")


def _show_tests(screen: Screen, found: Inspection, tests: Sequence[trial.Ran] | None, *, asked: bool) -> None:
    if tests is None:
        for one in found.examples:
            kind = "example" if one["outputs"] is None else "self-test"
            text = f": {one['description']}" if one["description"] else ""
            screen.line(f"{screen.mark(None)} {kind} {one['name']}{text} (--test runs it)")
        return
    for ran in tests:
        screen.line(f"{screen.mark(not ran.problem)} {'self-test' if ran.compared else 'example'} {ran.name}")
        screen.quote(ran.problem.splitlines(), "red")
    if asked and not tests:
        screen.line(f"{screen.mark(None)} it has no examples; it was loaded, and that is all")


def _environment(found: Inspection) -> str:
    told = {key: value for key, value in found.environment.items() if key != "from"}
    requirements = ", ".join(told.pop("requirements", ()))
    rest = ", ".join(f"{key} {value}" for key, value in told.items())
    return f"{', '.join(filter(None, (requirements, rest)))} (of {found.environment['from']})"


def _pairs(table: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in table.items())


def _shape(spec: TensorSpec) -> str:
    return "(" + ", ".join("any" if dim is None else str(dim) for dim in spec.shape or ()) + ")"


def _amount(size: int) -> str:
    return amount(size) if size >= 1e6 else f"{size / 1e3:.1f} kB"


# ------------------------------------------------------------------ pack


def run_pack(screen: Screen, arguments: argparse.Namespace) -> int:
    """Make a pod. Raises ``IsopodError``."""
    metadata = {name: getattr(arguments, name) for name in ("description", "licence", "homepage")}
    made = pack(
        arguments.place,
        arguments.model,
        name=arguments.name,
        inputs=[_spec(text) for text in arguments.input] or None,
        outputs=[_spec(text) for text in arguments.output] or None,
        env=_env(arguments),
        versions=arguments.versions,
        args={name: _json(name, text) for name, text in map(_pair, arguments.arg)},
        options={name: _json(name, text) for name, text in map(_pair, arguments.option)},
        code=arguments.code,
        data=arguments.data,
        ops=arguments.op,
        node_names=dict(map(_pair, arguments.node)),
        init_ops=arguments.init_op,
        test_inputs=_arrays(arguments.test),
        test_outputs=_arrays(arguments.expect),
        metadata={name: text for name, text in metadata.items() if text},
        as_zip=not arguments.folder,
    )
    found = inspect(made)
    screen.line(f"{screen.mark(True)} {made} ({_amount(found.size)})")
    screen.line(f"  sha256:{found.digest}")
    return 0


def _env(arguments: argparse.Namespace) -> Env | None:
    given = {"requirements": arguments.requirement, "python": arguments.python, "lock": arguments.lock}
    options = {name: value for name, value in given.items() if value}
    if arguments.file:
        return Env.from_file(arguments.file, **options)
    return Env(**options) if options else None


def _spec(text: str) -> dict[str, Any]:
    name, *rest = text.split(":")
    if len(rest) not in (1, 2):
        raise SpecError(f"{text!r} is not NAME:DTYPE:DIMS, as image:float32:batch,3,any")
    words = [word.strip() for word in rest[1].split(",")] if len(rest) > 1 and rest[1] else []
    dims = [None if word == "any" else int(word) if word.lstrip("-").isdigit() else word for word in words]
    return {"name": name, "dtype": rest[0], "shape": dims}


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise SpecError(f"{text!r} is not NAME=VALUE")
    return name, value


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise SpecError(f"{name}: {text!r} is not JSON; put text into quotes: {name}='\"{text}\"'") from None


def _arrays(path: str | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, AttributeError) as error:
        raise SpecError(f"{path} is not an npz of plain arrays: {error}") from None
