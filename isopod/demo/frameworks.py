"""``isopod demo --full``: four frameworks that share no Python, no numpy and no process, in one application.

The same small network with the same weights, written for each framework as its own time wrote it, and each with
something that only that version has. The application has numpy, computes the answer itself, and holds every other
against it. What this machine cannot build is left out, with the reason; a wrong answer makes the exit code 1.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import isopod
from isopod.cli.progress import Bars, bars
from isopod.cli.screen import Screen, python_here
from isopod.demo import reference
from isopod.demo.bill import Entry, bill
from isopod.demo.crew import Built, Crew, worker_log
from isopod.runtime.environment import find_interpreter

_TOLERANCE = 1e-4  # single precision, summed in different orders; what is seen is 3e-7
_IMAGES = 64
_SINGLE_CALLS = 100
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass
class Framework:
    """One framework, how its environment is made, and what only it has."""

    name: str
    file: str
    uses: str
    env: isopod.Env
    built: Built = field(default_factory=Built)


@dataclass(frozen=True)
class _Team:
    """Who is there, and why the others are not. ``broken``: those whose environment stands, but who do not run."""

    models: list[tuple[Framework, isopod.Model]]
    left_out: list[tuple[Framework, isopod.IsopodError]]
    broken: list[tuple[Framework, isopod.IsopodError]]


def frameworks() -> list[Framework]:
    """Return the four, oldest first within a family, each with the Pythons that its wheels exist for."""
    tensorflow_1 = isopod.Env(
        # a protobuf of today would not do; gast was never published as a wheel
        ["tensorflow==1.15.5", "protobuf<3.21"],
        python="3.7",
        from_source=["gast"],
        warm=["numpy", "tensorflow"],
        variables=_QUIET,
    )
    tensorflow_2 = isopod.Env(
        ["tensorflow-cpu==2.21.*"], python=">=3.10,<3.14", warm=["numpy", "tensorflow", "keras"], variables=_QUIET
    )
    torch_1 = isopod.Env(["torch==1.12.1", "numpy<2"], python=">=3.7,<3.11", warm=["numpy", "torch"])
    torch_2 = isopod.Env(["torch==2.13.0"], python="3.11", warm=["numpy", "torch", "torch.func"])
    return [
        Framework("TensorFlow 1.15", "net_tf1.py", "tf.contrib", tensorflow_1),
        Framework("TensorFlow 2.21", "net_tf2.py", "keras.ops", tensorflow_2),
        Framework("PyTorch 1.12", "net_torch1.py", "torch.symeig", torch_1),
        Framework("PyTorch 2.13", "net_torch2.py", "torch.func", torch_2),
    ]


def run(screen: Screen) -> int:
    """Run the demo and return its exit code: 1 if an answer was wrong, or if there was nobody to ask."""
    began = time.monotonic()
    parameters = reference.weights()
    screen.line()
    screen.line(f"This application: {python_here()}, numpy {np.__version__}, and no framework.")
    with tempfile.TemporaryDirectory(prefix="isopod-demo-") as folder, worker_log(), Crew(threads=4) as crew:
        weights = Path(folder) / "weights.npz"
        reference.save(parameters, weights)
        team = _gather(screen, crew, weights)
        good = _ask(screen, team, parameters) and not team.broken
    screen.line()
    screen.line(f"All of this took {time.monotonic() - began:.1f} s.")
    return 0 if good else 1


def _gather(screen: Screen, crew: Crew, weights: Path) -> _Team:
    """Build what is missing and start all, side by side, and say who is there."""
    screen.heading("Four environments that cannot be one")
    team = _Team([], [], [])
    wanted = frameworks()
    with bars(screen, [framework.name for framework in wanted]) as shown:
        futures = [crew.start(_load, crew, framework, weights, shown) for framework in wanted]
        for framework, future in zip(wanted, futures, strict=True):
            try:
                team.models.append((framework, future.result()))
            except (isopod.SpecError, isopod.EnvironmentBuildError) as error:
                team.left_out.append((framework, error))
            except isopod.IsopodError as error:
                team.broken.append((framework, error))
    width = max(len(framework.name) for framework in wanted)
    for framework, _ in team.models:
        numbers = f"Python {_python(framework):<8} {framework.built}"
        screen.line(f"  {screen.mark(True)} {framework.name:<{width}}   {numbers}")
    for framework, reason in team.left_out:
        screen.line(f"  {screen.mark(None)} {framework.name:<{width}}   is left out:")
        screen.quote(_gist(reason), "yellow")
    for framework, reason in team.broken:
        screen.line(f"  {screen.mark(False)} {framework.name:<{width}}   does not run:")
        screen.quote(_gist(reason), "red")
    return team


def _load(crew: Crew, framework: Framework, weights: Path, shown: Bars) -> isopod.Model:
    arguments = {"weights": str(weights)}
    model = crew.load(f"{framework.file}:Net", framework.env, framework.name, arguments, shown, framework.built)
    shown.tell(framework.name, "ready")
    return model


def _ask(screen: Screen, team: _Team, parameters: reference.Weights) -> bool:
    """Ask all at once, hold each answer against numpy's, and write the table."""
    screen.heading("The same network in each, against numpy")
    if not team.models:
        screen.line("  None of them can run on this machine, so there is nothing to compare.")
        return False
    images = reference.images(_IMAGES)
    right = reference.chances(images, parameters)
    futures = [model.submit(images=images) for _, model in team.models]  # all compute at the same time
    answers = [future.result()["chances"] for future in futures]
    errors = [_error(answer, right) for answer in answers]
    for _, model in team.models:
        for image in images.repeat(2, axis=0)[:_SINGLE_CALLS]:
            model(images=image[None])
    entries = [
        Entry(framework.name, _python(framework), model.stats(), framework.uses, error)
        for (framework, model), error in zip(team.models, errors, strict=True)
    ]
    bill(screen, entries, ("uses", "error", "a call", "isopod", "memory", "start"))
    screen.line()
    wrong = [entry for entry in entries if not entry.error < _TOLERANCE]
    for entry in wrong:
        screen.line(f"  {screen.mark(False)} {entry.name} is wrong: it is off by {entry.error:.2g}")
    if not wrong:
        screen.line(
            f"  {screen.mark(True)} {len(entries)} of {len(entries)} gave numpy's answer, on {len(images)} images"
        )
    return not wrong


def _error(answer: NDArray[np.float32], right: NDArray[np.float64]) -> float:
    """The largest difference; infinite for an answer of another shape, or one that is not a number."""
    if answer.shape != right.shape or not np.isfinite(answer).all():
        return float("inf")
    return float(np.abs(answer - right).max())


def _python(framework: Framework) -> str:
    return ".".join(map(str, find_interpreter(framework.env.python).version))


def _gist(error: isopod.IsopodError) -> list[str]:
    """The first line of an error, and of the resolver's own words those that say why."""
    first, *rest = str(error).splitlines() or [type(error).__name__]
    why = [number for number, line in enumerate(rest) if line.strip().startswith(("error:", "×"))]
    return [first, *(rest[why[0] : why[0] + 4] if why else rest[-3:])]
