"""What a process gets that tries to have two TensorFlows: one imported, forgotten, and another one imported."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import os
import sys


class Second:
    """``folder``: the packages of another environment. ``own``: whether this environment's TensorFlow comes first."""

    def __init__(self, folder, own):
        if own:
            import tensorflow as first

            print("had TensorFlow", first.__version__)
            where = os.path.dirname(os.path.dirname(first.__file__))
            for name, module in list(sys.modules.items()):
                if (getattr(module, "__file__", None) or "").startswith(where):
                    del sys.modules[name]
        sys.path.insert(0, folder)
        import tensorflow as second

        self.module = second

    def __call__(self, x):
        return {"y": (self.module.constant(x) + 1).numpy(), "version": self.module.__version__}
