"""The application's side of a sandbox: what is asked for, what a worker may inherit, and what was seen to hold.

The worker locks itself (its ``guard``); here is decided how, and looked afterwards whether it is so.
"""

from .profiles import LIMITS, NONE, STRICT, Sandbox, sandbox
from .report import Mechanism, SandboxReport

__all__ = ["LIMITS", "NONE", "STRICT", "Mechanism", "Sandbox", "SandboxReport", "sandbox"]
