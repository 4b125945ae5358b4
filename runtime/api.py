"""The names that ``isopod`` offers, gathered in one place: the application's package only passes them on."""

from isopod.ipc import errors as errors
from isopod.ipc.errors import ArenaFull as ArenaFull
from isopod.ipc.errors import Closed as Closed
from isopod.ipc.errors import EnvironmentBuildError as EnvironmentBuildError
from isopod.ipc.errors import InternalError as InternalError
from isopod.ipc.errors import IsopodError as IsopodError
from isopod.ipc.errors import ModelError as ModelError
from isopod.ipc.errors import ProtocolError as ProtocolError
from isopod.ipc.errors import SandboxUnavailable as SandboxUnavailable
from isopod.ipc.errors import SpecError as SpecError
from isopod.ipc.errors import WorkerCrashed as WorkerCrashed
from isopod.ipc.errors import WorkerError as WorkerError
from isopod.ipc.errors import WorkerTimeout as WorkerTimeout
from isopod.ipc.errors import WorkerUnavailable as WorkerUnavailable
from isopod.runtime.environment import BuildEvent as BuildEvent
from isopod.runtime.environment import Env as Env
from isopod.runtime.loading import load as load
from isopod.runtime.model import Health as Health
from isopod.runtime.model import Model as Model
from isopod.runtime.outputs import Outputs as Outputs
from isopod.runtime.report import CrashReport as CrashReport
from isopod.runtime.stats import Stats as Stats
