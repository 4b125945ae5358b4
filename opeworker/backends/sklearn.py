"""The sklearn backend: an estimator or a pipeline in a file of joblib, pickle or skops.

The input is ``X``, rows by features; it is read where it lies. An estimator that was fitted on named columns takes
these, too, one array each, and gets them as a table (for which pandas must be in its environment). Outputs are called
as the methods that made them: ``predict`` and ``predict_proba`` where there are such, else ``transform``, else
``decision_function``; the option ``methods`` names others. A method that answers with a list gives one output for each
of its items, with its number behind the name.

joblib and pickle run what is in the file, in the worker. skops runs nothing: types that it does not know must be named
by the option ``trusted``. https://scikit-learn.org/stable/model_persistence.html
"""

from __future__ import annotations

import pickle
import re
import warnings
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from isopod.ipc import tensor as wire
from isopod.ipc.errors import SpecError
from isopod.ipc.spec import TensorSpec
from isopod.opeworker.backends import Order, requires
from isopod.opeworker.failure import BadValue

with requires("scikit-learn", "sklearn"):
    import sklearn

_MOST_COLUMNS = 64  # more named columns than this come as X alone
_ROWS = "rows"
# A text and the next one, with what pickle puts between them (the length, places in its memory).
_WROTE = re.compile(rb"_sklearn_version[^\d]{1,12}?(\d+\.\d+[\w.]*)", re.DOTALL)
_SEARCHED = 256 << 20  # bytes


def load(order: Order) -> Estimator:
    order.check_version("scikit-learn", sklearn.__version__)
    options = order.take_options("methods", "trusted")
    order.refuse_arguments()
    if order.ops:
        raise SpecError("scikit-learn has no custom operations")
    if order.device.startswith("cuda"):
        raise SpecError(f"device {order.device!r} cannot be used: scikit-learn runs on the processor; leave device out")
    return Estimator(_read(order.path, options.get("trusted")), options.get("methods"))


class Estimator:
    """Whatever has at least one of the methods."""

    open = False

    def __init__(self, estimator: Any, methods: Optional[Sequence[str]]) -> None:
        self._estimator = estimator
        self._methods = _methods(estimator, methods)
        names = getattr(estimator, "feature_names_in_", None)
        self._columns = [str(name) for name in names] if names is not None and len(names) <= _MOST_COLUMNS else []
        features = getattr(estimator, "n_features_in_", None)
        count = int(features) if features is not None else None
        rows = TensorSpec("X", "", (_ROWS, count), required=not self._columns)
        self.inputs = [rows, *(TensorSpec(name, "", (_ROWS,), required=False) for name in self._columns)]
        self.outputs: List[TensorSpec] = _outputs(estimator, self._methods)

    def __call__(self, inputs: Dict[str, Any]) -> Any:
        table = self._table(inputs)
        found: Dict[str, Any] = {}
        with warnings.catch_warnings():
            # An array has no names; that its columns are in the order of the fit is what the caller says by it.
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            for method in self._methods:
                answer = getattr(self._estimator, method)(table)
                if isinstance(answer, list) and answer and isinstance(answer[0], np.ndarray):
                    found.update((f"{method}_{number}", part) for number, part in enumerate(answer))
                else:
                    found[method] = answer.toarray() if hasattr(answer, "toarray") else answer
        return found

    def close(self) -> None:
        pass

    def _table(self, inputs: Dict[str, Any]) -> Any:
        if "X" in inputs:
            if len(inputs) > 1:
                raise BadValue(SpecError("give X, or its columns by name, not both"), "input")
            return inputs["X"]
        missing = [name for name in self._columns if name not in inputs]
        if missing:
            raise BadValue(
                SpecError(f"the columns {', '.join(missing)} were not given; give all of them, or X"), "input"
            )
        with requires("pandas"):
            import pandas
        return pandas.DataFrame({name: inputs[name] for name in self._columns})


def _read(path: str, trusted: Any) -> Any:
    if _is_skops(path):
        return _from_skops(path, trusted)
    if trusted is not None:
        raise SpecError("the option 'trusted' is for skops files; joblib and pickle run whatever is in the file")
    try:
        if path.endswith(".joblib"):
            import joblib

            return joblib.load(path)
        with open(path, "rb") as file:
            return _from_pickle(file, path)
    except (EOFError, pickle.UnpicklingError, ValueError, KeyError, IndexError) as error:
        raise SpecError(_explained(path, error, _version_in(path))) from error
    except (AttributeError, ImportError, TypeError) as error:
        wrote = _version_in(path)
        if wrote in ("", sklearn.__version__):
            raise  # what is missing is the model's own: its traceback says most
        raise SpecError(_explained(path, error, wrote)) from error


def _version_in(path: str) -> str:
    """The scikit-learn that wrote a pickle, as each estimator in it says; empty where that is not seen (compressed)."""
    with open(path, "rb") as file:
        found = _WROTE.search(file.read(_SEARCHED))
    return found[1].decode() if found else ""


def _explained(path: str, error: Exception, wrote: str) -> str:
    reason = f"{path} cannot be read by scikit-learn {sklearn.__version__}: {str(error) or type(error).__name__}"
    if wrote in ("", sklearn.__version__):
        return f"{reason}. It was cut short, or written by a version that this one does not understand"
    return f"{reason}. It was written by scikit-learn {wrote}: load it in an environment with that one"


def _from_pickle(file: Any, path: str) -> Any:
    try:
        return pickle.load(file)  # noqa: S301 (in the worker: what it runs stays there)
    except (pickle.UnpicklingError, UnicodeDecodeError, KeyError):
        import joblib  # which also calls its files .pkl, with arrays between the parts of the pickle

        return joblib.load(path)


def _is_skops(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _from_skops(path: str, trusted: Any) -> Any:
    with requires("skops"):
        from skops import io
    unknown = sorted(set(io.get_untrusted_types(file=path)) - set(trusted or ()))
    if unknown:
        raise SpecError(
            f"{path} has types that skops does not trust: {', '.join(unknown)}; if you do, load it with "
            f"options={{'trusted': {unknown!r}}}"
        )
    return io.load(path, trusted=list(trusted or ()))


def _methods(estimator: Any, wanted: Optional[Sequence[str]]) -> List[str]:
    """Raises ``SpecError`` where there is nothing to call, or not what was asked for."""
    if wanted is not None:
        lacking = [method for method in wanted if not callable(getattr(estimator, method, None))]
        if lacking or not wanted:
            raise SpecError(f"a {type(estimator).__name__} has no method {', '.join(lacking) or 'to call'}")
        return list(wanted)
    for choice in (("predict", "predict_proba"), ("transform",), ("decision_function",)):
        found = [method for method in choice if callable(getattr(estimator, method, None))]
        if found:
            return found
    raise SpecError(
        f"the file holds a {type(estimator).__module__}.{type(estimator).__name__}, which can neither predict nor "
        "transform"
    )


def _outputs(estimator: Any, methods: Sequence[str]) -> List[TensorSpec]:
    """What is known of a classifier with one target; of others, the names at most are seen with the first answer."""
    classes = getattr(estimator, "classes_", None)
    if not isinstance(classes, np.ndarray) or not set(methods) <= {"predict", "predict_proba"}:
        return []
    labels = wire.name_of(wire.code_of(classes)) if classes.dtype.kind not in "OV" else "text"
    specs = {"predict": TensorSpec("predict", labels, (_ROWS,))}
    specs["predict_proba"] = TensorSpec("predict_proba", "", (_ROWS, len(classes)))
    return [specs[method] for method in methods]
