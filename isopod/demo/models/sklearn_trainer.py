"""Trains two scikit-learn models and pickles them, as that team did whose pickle you inherited.

Runs in an environment of either version, so that each pickle is a real one of its own scikit-learn. The data (digits
and wine) ship inside scikit-learn.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
from sklearn.datasets import load_digits, load_wine
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def _trees() -> dict[str, Any]:
    return {
        "wine": GradientBoostingClassifier(n_estimators=40, random_state=0),
        "digits": RandomForestClassifier(n_estimators=30, random_state=0),
    }


def _network() -> dict[str, Any]:
    return {
        "digits": make_pipeline(StandardScaler(), MLPClassifier((48,), max_iter=120, tol=1e-3, random_state=0)),
        "wine": make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=300, tol=1e-3, random_state=0)),
    }


class Trainer:
    """``kind``: ``"trees"`` or ``"network"``. A call trains, writes the pickle, and returns the held-out rows."""

    def __init__(self, kind: str, pickle_path: str) -> None:
        self._models = {"trees": _trees, "network": _network}[kind]()
        self._path = pickle_path

    def __call__(self, *, held_out: int) -> dict[str, Any]:
        """Train on all but every ``held_out``-th row; return those rows and their labels."""
        rows = {"digits": load_digits(return_X_y=True), "wine": load_wine(return_X_y=True)}
        answers = {}
        for name, model in self._models.items():
            features, labels = rows[name]
            kept = np.arange(len(labels)) % held_out == 0
            model.fit(features[~kept], labels[~kept])
            answers[name] = features[kept]
            answers[name + "_labels"] = labels[kept]
        with open(self._path + ".part", "wb") as file:
            pickle.dump(self._models, file)
        os.replace(self._path + ".part", self._path)  # a killed training never leaves half a pickle
        return answers
