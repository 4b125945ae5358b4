"""Which variables of the application's environment a worker inherits.

Under ``none`` all of them, but what would lead it to the application's own Python. Otherwise by an allow-list: where
things are, which language, and what the libraries of models are set up by. Whatever looks like a secret is left out
even then (``HF_TOKEN``). ``Env(variables=...)`` gives a model any other, and ``Env(unset=...)`` takes any away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .profiles import NONE, STRICT

_BY_NAME = """
    PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TZDIR TERM COLUMNS LINES TMPDIR TMP TEMP LD_LIBRARY_PATH LD_PRELOAD
    MPLBACKEND MPLCONFIGDIR GLIBC_TUNABLES NO_COLOR
"""
_BY_PREFIX = """
    LC_ XDG_ MALLOC_ MIMALLOC_ TCMALLOC_ JEMALLOC_
    OMP_ KMP_ GOMP_ MKL_ OPENBLAS_ GOTO_ BLIS_ NUMEXPR_ VECLIB_ DNNL_ ONEDNN_ NUMBA_ JOBLIB_ LOKY_ SKLEARN_ ARROW_
    POLARS_ CUDA_ NVIDIA_ CUBLAS_ CUDNN_ NCCL_ TRITON_ HIP_ ROCR_ ROCM_ HSA_ MIOPEN_ GPU_ ONEAPI_ SYCL_ ZE_
    TORCH_ TORCHINDUCTOR_ PYTORCH_ TF_ TENSORFLOW_ XLA_ KERAS_ JAX_ ORT_ ONNX_ HF_ HUGGINGFACE_ TRANSFORMERS_
    TOKENIZERS_
"""
# Where to fetch weights through, and whom to trust; of no use without a network.
_OF_THE_NETWORK = """
    HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY FTP_PROXY SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
"""
_NAMES, _PREFIXES, _NETWORK = (
    frozenset(_BY_NAME.split()), tuple(_BY_PREFIX.split()), frozenset(_OF_THE_NETWORK.split()),
)  # fmt: skip
_SECRET = re.compile(r"TOKEN$|SECRET|PASSW|CREDENTIAL|(^|_)KEY(S|_ID)?$|(^|_)AUTH($|_)", re.IGNORECASE)
_OF_ITS_OWN_PYTHON = ("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "__PYVENV_LAUNCHER__")


def inherits(name: str, profile: str) -> bool:
    """Whether a worker under that profile is given the application's variable ``name``."""
    if name.startswith("PYTHON") or name in _OF_ITS_OWN_PYTHON:
        return False
    if profile == NONE:
        return True
    if name.upper() in _NETWORK:
        return profile != STRICT
    return (name in _NAMES or name.startswith(_PREFIXES)) and _SECRET.search(name) is None


def worker_variables(
    application: Mapping[str, str], extra: Mapping[str, str | None], profile: str = NONE
) -> dict[str, str]:
    """The whole environment of a worker: what it inherits, and ``extra`` on top; None is a variable to be left out."""
    kept = {name: value for name, value in application.items() if inherits(name, profile)}
    return {name: value for name, value in {**kept, **extra}.items() if value is not None}
