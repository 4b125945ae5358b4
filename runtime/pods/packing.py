"""``pack``: a model file, or a Python class with its environment, into one pod that says all it needs."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.runtime.environment import Env, find_interpreter, has_script_block, toml
from isopod.runtime.environment.locking import lock
from isopod.runtime.target import Target

from . import config, examples, layout, models, section, specs, trial
from .contents import Folder
from .draft import Draft, drafted
from .examples import Example
from .section import Section

_ENTRY = "isopod_entry"
_SOURCE = '''\
"""Made by isopod.pack: makes the model, for whoever opens this package."""

import json

from .{module} import {first}

ARGUMENTS = json.loads({arguments!r})


def load(data):
    """Return the model. ``data`` is the folder of the package's data."""
    return {attribute}{call}


def _placed(value, data):
    if isinstance(value, str):
        return value.replace("{{data}}", data)
    if isinstance(value, list):
        return [_placed(item, data) for item in value]
    if isinstance(value, dict):
        return {{key: _placed(item, data) for key, item in value.items()}}
    return value
'''


def pack(
    place: str | os.PathLike[str],
    model: str | os.PathLike[str],
    *,
    name: str | None = None,
    inputs: Iterable[TensorSpec | Mapping[str, Any]] | None = None,
    outputs: Iterable[TensorSpec | Mapping[str, Any]] | None = None,
    env: Env | None = None,
    versions: str = "*",
    args: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    code: Sequence[str | os.PathLike[str]] = (),
    data: Mapping[str, str | os.PathLike[str]] | Sequence[str | os.PathLike[str]] = (),
    ops: Sequence[str | os.PathLike[str]] = (),
    node_names: Mapping[str, str] | None = None,
    init_ops: Sequence[str] = (),
    test_inputs: Mapping[str, Any] | None = None,
    test_outputs: Mapping[str, Any] | None = None,
    rtol: float = examples.RTOL,
    atol: float = examples.ATOL,
    more_examples: Mapping[str, Example] | None = None,
    limits: Mapping[str, Any] | None = None,
    sandbox: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
    as_zip: bool = True,
) -> Path:
    """Pack a model into one file that ``load`` takes, here and elsewhere. Returns its path.

    ``model`` is ``"digits.py:Digits"`` (a class or function), or a model file or folder of any format that ``load``
    knows. ``place`` must not exist; ``as_zip=False`` makes a folder.

    ``inputs`` and ``outputs`` are ``TensorSpec`` or dicts with name, dtype and shape; those that are not given are
    read from the model, in a worker, where its format says them, and else taken from ``test_inputs`` and
    ``test_outputs`` (of a framework's file, from what it answers), with any size.

    ``env`` is what it runs in: it is locked now, and the lock goes into the pod. Without it a Python file's own
    (PEP 723) counts; a framework's file runs in the newest version of the framework that ``versions`` allows, a range
    as npm writes it (``"^2.1"``), which a caller's own environment is held against, too.

    For Python: ``code`` are files and folders beside the model's file, ``data`` files that it reads, by the names that
    they get, and ``args`` are given to the class, with ``{data}`` in a text for the folder of the data. ``ops`` are
    libraries of custom operations. For a frozen graph: ``node_names`` from input or output to node, and ``init_ops``.
    For other files ``options`` are those of ``load``; ``data`` are weights beside an ONNX file.

    With ``test_inputs`` the pod is loaded in a fresh worker and called before it gets its name; what it gives is held
    against ``test_outputs`` (text must be the same, numbers within ``rtol`` and ``atol``), which are all outputs where
    ``outputs`` are not given. Both are kept in the pod, without a pickle, and ``more_examples`` beside them;
    ``isopod inspect --test`` runs them again. ``limits``, ``sandbox`` and ``metadata`` (description, licence, homepage)
    are the tables of ``isopod.toml``.

    Raises ``SpecError``, also for a test that fails, and what ``load`` raises; then nothing is left behind. ::

        isopod.pack("digits.pod", "digits.py:Digits", env=isopod.Env(["scikit-learn==1.9.1"]),
                    test_inputs={"images": images}, test_outputs=answer)
    """
    target = Path(place).expanduser().absolute()
    shown = dict(more_examples or {})
    if test_inputs is not None:
        shown = {"test": Example(test_inputs, test_outputs, "made when it was packed", rtol, atol), **shown}
    elif test_outputs is not None:
        raise SpecError("test_outputs are what test_inputs give: give those, too")
    with drafted(target) as draft:
        kind = models.platform_of(model)
        beside = _named(data)
        said = models.Said()
        if kind == layout.PYTHON:
            if options:
                raise SpecError("options are for files of a framework; give a class args")
            source = _add_python(draft, model, args or {}, code, beside)
            env = Env.script(source) if env is None and has_script_block(source) else env
        else:
            if args or code:
                raise SpecError("args and code are for models in Python; a framework's file has all in it")
            path = Path(model).expanduser()
            file = models.ModelFile(path, kind, options or {}, node_names or {}, init_ops, beside, ops)
            file.check_version_is_said(env, versions)
            file.add_to(draft)
            if inputs is None or outputs is None:
                said = file.says(env, versions, test_inputs if outputs is None and test_outputs is None else None)
        takes = models.joined(inputs, said.inputs, test_inputs, "inputs")
        gives = models.joined(outputs, said.outputs, test_outputs or said.answer, "outputs")
        label = name or (Target.parse(model).name if kind == layout.PYTHON else Path(model).stem)
        draft.describe(label, kind, takes, gives, versions=versions, ops=ops)
        environment = {} if env is None else lock_into(draft, env, kind)
        ours = Section(environment, limits or {}, {}, metadata or {}, sandbox or {})
        if text := section.write(ours):
            draft.write(layout.SECTION, text)
        finish(draft, shown, as_zip=as_zip)
    return target


def finish(
    draft: Draft,
    shown: Mapping[str, Example],
    *,
    as_zip: bool,
    compression: int = zipfile.ZIP_DEFLATED,
    env: Env | str | os.PathLike[str] | None = None,
    keep: bool = True,
    check_expected: bool = True,
) -> None:
    """Write the examples, run them in a fresh worker, and give the pod its place. Raises ``SpecError`` where one fails.

    ``env`` instead of the pod's own; ``keep``: whether the examples stay in the pod; ``check_expected``: whether their
    outputs are to be of the declared dtype, too, and not only close to what the model gives.
    """
    for name, example in shown.items() if keep else ():
        examples.write(draft.folder, name, example)
    says = config.read(Folder(draft.folder))
    for name, example in shown.items():
        specs.check_values("input", says.inputs, example.inputs, f"example {name!r}: ")
        if check_expected:
            specs.check_values("output", says.outputs, example.outputs or {}, f"example {name!r}: ")
    draft.seal()
    for ran in trial.run(draft.folder, says, shown, env=env) if shown else ():
        if ran.problem:
            raise SpecError(f"{draft.place} was not packed, for its example {ran.name!r} failed: {ran.problem}")
    draft.publish(as_zip=as_zip, compression=compression)


def _add_python(
    draft: Draft,
    model: str | os.PathLike[str],
    args: Mapping[str, Any],
    code: Sequence[str | os.PathLike[str]],
    data: Mapping[str, str | os.PathLike[str]],
) -> Path:
    """The code, and an entry point that makes the model; returns the model's own file."""
    target = Target.parse(model)
    assert target.file is not None
    module = target.file.stem
    if not module.isidentifier() or module == _ENTRY:
        raise SpecError(f"{target.file.name} cannot be a module of a package; give it another name")
    for source in (target.file, *map(Path, code)):
        draft.copy(source, f"{layout.CODE}/{Path(source).absolute().name}")
    for packaged, file in data.items():
        draft.copy(file, f"{layout.DATA}/{packaged}")
    (draft.folder / layout.DATA).mkdir(exist_ok=True, parents=True)
    try:
        arguments = json.dumps(dict(args), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SpecError(f"args go into the pod as JSON: {error}") from None
    made = _is_class(target) or bool(args)
    draft.write(
        f"{layout.CODE}/{_ENTRY}.py",
        _SOURCE.format(
            module=module,
            first=target.attribute.partition(".")[0],
            attribute=target.attribute,
            arguments=arguments,
            call="(**_placed(ARGUMENTS, data))" if made else "",
        ),
    )
    draft.write(f"{layout.CODE}/__init__.py", "")
    draft.write_json(layout.PLATFORM_CONFIG, {"entrypoint_package": _ENTRY, "entrypoint": "load"})
    return target.file


def _named(
    data: Mapping[str, str | os.PathLike[str]] | Sequence[str | os.PathLike[str]],
) -> Mapping[str, str | os.PathLike[str]]:
    return data if isinstance(data, Mapping) else {Path(source).name: source for source in data}


def _is_class(target: Target) -> bool:
    """Whether the name in the file is a class, as its text says: nothing of it runs here."""
    import ast

    assert target.file is not None
    try:
        found: list[ast.ClassDef | ast.FunctionDef] = []
        body = ast.parse(target.file.read_bytes()).body
    except (SyntaxError, ValueError) as error:
        raise SpecError(f"{target.file} is no Python: {error}") from error
    for part in target.attribute.split("."):
        found = [node for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == part]
        if not found:
            raise SpecError(f"there is no class or function {target.attribute!r} in {target.file}")
        body = found[-1].body
    return isinstance(found[-1], ast.ClassDef)


def lock_into(draft: Draft, env: Env, kind: str) -> dict[str, Any]:
    """Write down which packages it installs, and return the table that says so."""
    if env.location is not None or env.from_source or env.allow_source:
        raise SpecError(f"{env!r} cannot go into a pod: give the requirements of wheels, which can be locked")
    if env.variables or env.unset or env.devices is not None:
        raise SpecError(
            "variables, unset and devices are of the machine that a pod runs on: give them to load, not here"
        )
    if env.lock is not None:
        if not Path(env.lock).name.startswith("pylock."):
            raise SpecError(f"{env.lock} cannot go into a pod: give a pylock.toml, or requirements to lock")
        text, python = toml.read(Path(env.lock)), env.python
        draft.copy(env.lock, layout.LOCK)
        packages = text.get("packages", [])
    else:
        interpreter = find_interpreter(env.python)
        python = interpreter.minor
        locked = lock(dataclasses.replace(env, python=str(interpreter.executable)))
        draft.write(layout.LOCK, locked)
        packages = toml.parse(locked, Path(layout.LOCK)).get("packages", [])
    if kind == layout.PYTHON:  # for those who open it with Neuropod itself
        lines = sorted(f"{canonicalize_name(one['name'])}=={one['version']}" for one in packages if "version" in one)
        draft.write(layout.REQUIREMENTS, "\n".join(lines) + "\n")
    table = {"requirements": list(env.requirements), "python": python, "lock": layout.LOCK}
    return {key: value for key, value in table.items() if value}
