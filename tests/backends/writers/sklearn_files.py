"""Writes small estimators to files, by kind and path, in a worker that has the scikit-learn to fit them."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import pickle

import joblib
import numpy as np
import sklearn
from sklearn.cluster import DBSCAN
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X = np.random.default_rng(0).normal(size=(60, 3))
LABELS = np.where(X.sum(1) > 0, "high", "low")


def double():
    return LinearRegression().fit(X, X * 2 + 1)


def classifier():
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X, LABELS)


def forest():
    return RandomForestClassifier(5, random_state=0).fit(X, LABELS)


def scaler():
    return StandardScaler().fit(X)


def columns():
    import pandas

    return LogisticRegression().fit(pandas.DataFrame(X, columns=["a", "b", "c"]), LABELS)


def several():
    return RandomForestClassifier(5, random_state=0).fit(X, np.stack([LABELS, LABELS[::-1]], 1))


def only_fit():
    return DBSCAN().fit(X)


def no_estimator():
    return {"a": 1}


class Threads:
    """A pickle that is an estimator of one line: it predicts how many threads OpenMP and BLAS have."""

    LINE = (
        "type('Threads', (), {'predict': lambda self, X: __import__('numpy').array(["
        "max(pool['num_threads'] for pool in __import__('threadpoolctl').threadpool_info() if pool['user_api'] == api) "
        "for api in ('openmp', 'blas')])})()"
    )

    def __reduce__(self):
        return eval, (self.LINE,)


def threads():
    return Threads()


def write(kind, path, library=""):
    made = globals()[kind]()
    if path.endswith(".skops"):
        from skops import io

        io.dump(made, path)
    elif path.endswith(".joblib"):
        joblib.dump(made, path, compress=3 if "small" in path else 0)
    else:
        with open(path, "wb") as file:
            pickle.dump(made, file)
    return {"version": sklearn.__version__}
