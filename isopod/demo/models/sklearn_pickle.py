"""Answers from a scikit-learn pickle, with whichever scikit-learn is installed where this runs.

This is all that a user writes to serve an old pickle: load it in ``__init__``, answer in ``__call__``. ``hold`` and
``lobby`` are the demo's own: they make a call that lasts, so that its worker can be killed in the middle of it.
"""

from __future__ import annotations

import pickle
import time
from typing import Any

import sklearn


class Pickle:
    """``path``: a pickle of ``{"digits": classifier, "wine": classifier}``. ``lobby``: a named pipe, see ``_hold``."""

    def __init__(self, path: str, lobby: str = "") -> None:
        self._models = _read(path)
        self._lobby = lobby
        print("answering with scikit-learn", sklearn.__version__)

    def __call__(
        self,
        *,
        digits: Any = None,
        wine: Any = None,
        another: str | None = None,
        hold: bool = False,
    ) -> dict[str, Any]:
        """Answer for the rows that are given: the class, and how sure the model is of it.

        ``another`` is the path of a pickle to answer from instead, from now on.
        """
        if another is not None:
            self._models = _read(another)
        if hold:
            self._hold()
        answers = {}
        for name, rows in (("digits", digits), ("wine", wine)):
            if rows is not None:
                model = self._models[name]
                chances = model.predict_proba(rows)
                answers[name] = model.classes_[chances.argmax(axis=1)]
                answers[name + "_chance"] = chances.max(axis=1)
        return answers

    def _hold(self) -> None:
        """Tell whoever waits at the pipe that the call is running, then never come back."""
        with open(self._lobby, "wb") as pipe:
            pipe.write(b"in the call")
        while True:
            time.sleep(3600)


def _read(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        models: dict[str, Any] = pickle.load(file)  # noqa: S301  (our own file; loading it is what the demo is about)
    return models
