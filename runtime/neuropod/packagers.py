"""``create_python_neuropod`` and its relatives: what each platform's package is made of, with Neuropod's parameters.

Everything is by keyword. What they have in common is in ``packaged``: see there for its meaning. What needs a framework
to be written (a module, a session, a Keras model) uses the caller's own; the package is tried in a process of its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isopod.ipc.errors import SpecError
from isopod.runtime.environment import Env
from isopod.runtime.pods import frameworks, layout, section
from isopod.runtime.pods.draft import Draft
from isopod.runtime.pods.packing import lock_into
from isopod.runtime.pods.section import Section

from . import keras, tensorflow
from .errors import raised_as_theirs
from .packaging import one_of, packaged


def create_python_neuropod(
    *,
    neuropod_path: str | os.PathLike[str],
    model_name: str,
    data_paths: Sequence[Mapping[str, str]],
    code_path_spec: Sequence[Mapping[str, Any]],
    entrypoint_package: str,
    entrypoint: str,
    input_spec: Sequence[Mapping[str, Any]],
    output_spec: Sequence[Mapping[str, Any]],
    requirements: str | None = None,
    **common: Any,
) -> None:
    """Package Python code. ``entrypoint``, a function in the module ``entrypoint_package``, is called with the folder
    of the data, and returns what is called with the inputs by keyword and returns a dict.

    ``data_paths`` is ``[{"path": "/path/file", "packaged_name": "name"}]`` and ``code_path_spec``
    ``[{"python_root": "/path", "dirs_to_package": ["package"]}]``, where ``""`` is the whole root. ``requirements`` is
    text as pip reads it: it is resolved now, and an environment of just that is built where the package is loaded.
    """

    def fill(draft: Draft) -> None:
        for data in data_paths:
            draft.copy(data["path"], f"{layout.DATA}/{data['packaged_name']}")
        (draft.folder / layout.DATA).mkdir(parents=True, exist_ok=True)
        for code in code_path_spec:
            for folder in code["dirs_to_package"]:
                draft.copy(Path(code["python_root"], folder), f"{layout.CODE}/{folder}".rstrip("/"))
        for folder in [draft.folder / layout.CODE, *(draft.folder / layout.CODE).rglob("*")]:
            if folder.is_dir() and not (folder / "__init__.py").exists():
                (folder / "__init__.py").touch()
        own = {"entrypoint_package": entrypoint_package, "entrypoint": entrypoint}
        draft.write_json(layout.PLATFORM_CONFIG, own)
        if requirements is not None:
            _lock(draft, requirements, common.get("platform_version_semver", "*"))

    with raised_as_theirs():
        packaged(
            layout.PYTHON, fill, neuropod_path=neuropod_path, model_name=model_name, input_spec=input_spec,
            output_spec=output_spec, **common,
        )  # fmt: skip


def create_pytorch_neuropod(**arguments: Any) -> None:
    """Package eager PyTorch code: as ``create_python_neuropod``, whose platform it is."""
    create_python_neuropod(**arguments)


def create_torchscript_neuropod(
    *,
    neuropod_path: str | os.PathLike[str],
    model_name: str,
    input_spec: Sequence[Mapping[str, Any]],
    output_spec: Sequence[Mapping[str, Any]],
    module: Any = None,
    module_path: str | os.PathLike[str] | None = None,
    **common: Any,
) -> None:
    """Package a TorchScript model: ``module``, which the caller's Torch has scripted, or the file ``module_path``."""

    def fill(draft: Draft) -> None:
        target = draft.folder / layout.TORCHSCRIPT
        target.parent.mkdir(parents=True, exist_ok=True)
        if module_path is not None:
            draft.copy(module_path, layout.TORCHSCRIPT)
        elif not callable(getattr(module, "save", None)):
            raise SpecError(f"a {type(module).__name__} is no TorchScript module; give torch.jit.script(module)")
        else:
            module.save(str(target))

    with raised_as_theirs():
        one_of(module=module, module_path=module_path)
        packaged(
            layout.TORCH, fill, neuropod_path=neuropod_path, model_name=model_name, input_spec=input_spec,
            output_spec=output_spec, **common,
        )  # fmt: skip


def create_tensorflow_neuropod(
    *,
    neuropod_path: str | os.PathLike[str],
    model_name: str,
    input_spec: Sequence[Mapping[str, Any]],
    output_spec: Sequence[Mapping[str, Any]],
    node_name_mapping: Mapping[str, str] | None = None,
    frozen_graph_path: str | os.PathLike[str] | None = None,
    graph_def: Any = None,
    saved_model_dir: str | os.PathLike[str] | None = None,
    trackable_obj: Any = None,
    init_op_names: Sequence[str] = (),
    **common: Any,
) -> None:
    """Package a TensorFlow model: a frozen graph, as a file or a ``GraphDef``; or a SavedModel, as a folder or as what
    the caller's ``tf.saved_model.save`` takes.

    ``node_name_mapping`` says which node each input and output of a frozen graph is (``"x": "some/node:0"``, where
    ``:0`` may be left out); a SavedModel's are those of its ``serving_default``. ``init_op_names`` are run once.
    """

    def fill(draft: Draft) -> None:
        if saved_model_dir is not None:
            draft.copy(saved_model_dir, layout.SAVED_MODEL)
        elif trackable_obj is not None:
            tensorflow.save(trackable_obj, draft.folder / layout.SAVED_MODEL)
        elif frozen_graph_path is not None:
            draft.copy(frozen_graph_path, layout.FROZEN_GRAPH)
        else:
            tensorflow.write_graph(graph_def, draft.folder / layout.FROZEN_GRAPH)
        own = {"node_name_mapping": dict(node_name_mapping or {}), "init_op_names": list(init_op_names)}
        draft.write_json(layout.PLATFORM_CONFIG, own)

    with raised_as_theirs():
        given = one_of(
            frozen_graph_path=frozen_graph_path, graph_def=graph_def, saved_model_dir=saved_model_dir,
            trackable_obj=trackable_obj,
        )  # fmt: skip
        if given in ("frozen_graph_path", "graph_def"):
            tensorflow.check_mapping(node_name_mapping, input_spec, output_spec)
        elif node_name_mapping:
            raise SpecError("node_name_mapping is for frozen graphs: a SavedModel says its names itself")
        packaged(
            layout.TENSORFLOW, fill, neuropod_path=neuropod_path, model_name=model_name, input_spec=input_spec,
            output_spec=output_spec, **common,
        )  # fmt: skip


def create_keras_neuropod(
    *,
    neuropod_path: str | os.PathLike[str],
    model_name: str,
    model: Any,
    sess: Any = None,
    node_name_mapping: Mapping[str, str] | None = None,
    input_spec: Sequence[Mapping[str, Any]] | None = None,
    output_spec: Sequence[Mapping[str, Any]] | None = None,
    **common: Any,
) -> None:
    """Package a Keras model as a TensorFlow one: frozen in its session ``sess``, or without one as a SavedModel.

    ``node_name_mapping`` gives inputs and outputs other names than Keras has for them (``"x": "input_1"``). Specs that
    are not given are the model's own, with ``"batch_size"`` as the first dimension.
    """
    with raised_as_theirs():
        names = keras.Names(model, node_name_mapping or {})
        inputs = names.inputs_spec() if input_spec is None else input_spec
        outputs = names.outputs_spec() if output_spec is None else output_spec

        def fill(draft: Draft) -> None:
            own = keras.write(model, sess, names, draft.folder)
            draft.write_json(layout.PLATFORM_CONFIG, own)

        packaged(
            layout.TENSORFLOW, fill, neuropod_path=neuropod_path, model_name=model_name, input_spec=inputs,
            output_spec=outputs, **common,
        )  # fmt: skip


def _lock(draft: Draft, requirements: str, versions: str) -> None:
    with tempfile.TemporaryDirectory(prefix="isopod-requirements-") as folder:
        file = Path(folder, "requirements.txt")
        file.write_text(requirements, encoding="utf-8")
        env = Env.from_file(file, python=frameworks.python_request(versions))
    draft.write(layout.SECTION, section.write(Section(lock_into(draft, env, layout.PYTHON))))
