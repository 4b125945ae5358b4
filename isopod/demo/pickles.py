"""``isopod demo``: two scikit-learn pickles that exclude each other, both answering in one application.

The application, which is this file, has numpy and nothing else. Each pickle is written by its own scikit-learn (at the
first run) and asked for digits and wines. Then comes what you would get without isopod, which is really tried, and a
worker is killed while it answers. Nothing shown is made up: a fact that does not hold is marked so, and the exit code
says it too.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import isopod
from isopod.cli.progress import Bars, bars
from isopod.cli.screen import Screen, python_here
from isopod.demo.bill import Entry, bill
from isopod.demo.crash import kill_in_mid_call, lobby
from isopod.demo.crew import Built, Crew, worker_log
from isopod.demo.picture import picture
from isopod.runtime.environment import Reporter, find_interpreter, find_or_download
from isopod.runtime.environment.store import home

_EVERY = 4  # every fourth row is held out from the training
_GOOD = 0.9  # the share of right answers below which something is wrong
_SINGLE_CALLS = 100
# Matrices of this size gain nothing from a second thread, and two models with two each would wait for one another.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Pairs of scikit-learn that cannot read each other's pickles, with the Pythons that their wheels exist for. The first
# one runs on 3.11 alone, the others on 3.10 or 3.12.
_PAIRS = (
    (("1.2.2", ">=3.8,<3.12"), ("1.9.1", ">=3.11")),
    (("1.2.2", ">=3.8,<3.12"), ("1.7.2", ">=3.10")),
    (("1.3.2", ">=3.8,<3.13"), ("1.9.1", ">=3.11")),
)


@dataclass
class Version:
    """One scikit-learn: how its environment is made, what it trained, and what it is doing now."""

    name: str
    kind: str
    what: str
    env: isopod.Env
    built: Built = field(default_factory=Built)
    trained: float = 0.0

    @property
    def pickle(self) -> Path:
        return home() / "demo" / f"{self.name.replace(' ', '-')}.pkl"

    @property
    def held_out(self) -> Path:
        return self.pickle.with_suffix(".npz")

    @property
    def python(self) -> str:
        return ".".join(map(str, find_interpreter(self.env.python).version))


def versions() -> tuple[Version, Version]:
    """Return the old and the new scikit-learn of the demo: a pair that this machine has the Pythons for, if it can."""
    chosen = next((pair for pair in _PAIRS if all(_is_here(python) for _, python in pair)), _PAIRS[0])
    (old, old_python), (new, new_python) = chosen
    return (
        Version(f"scikit-learn {old}", "trees", "decision trees", _env(old, old_python, "numpy<2")),
        Version(f"scikit-learn {new}", "network", "neural network", _env(new, new_python)),
    )


def _is_here(python: str) -> bool:
    try:
        find_interpreter(python)
    except isopod.SpecError:
        return False
    return True


def _env(release: str, python: str, *more: str) -> isopod.Env:
    # in small steps, so that the bar moves: it is these imports that make the bytecode, once
    parts = ["scipy.sparse", "scipy.special", "scipy.optimize", "scipy.stats", "sklearn", "sklearn.datasets"]
    parts += ["sklearn.ensemble", "sklearn.neural_network"]
    return isopod.Env([f"scikit-learn=={release}", *more], python=python, warm=parts, variables=_ONE_THREAD)


def run(screen: Screen) -> int:
    """Run the demo and return its exit code: 1 if anything that it shows did not hold."""
    return _Story(screen).tell()


class _Story:
    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._began = time.monotonic()
        self._versions = versions()
        self._good = True

    def tell(self) -> int:
        screen = self._screen
        screen.line()
        screen.line(f"This application: {python_here()}, numpy {np.__version__}, {_scikit_learn_here()}.")
        with lobby() as path, worker_log(), Crew(threads=2) as crew:
            models = self._prepare(crew, path)
            self._ask(models)
            self._confuse(models)
            self._crash(models, path)
            self._bill(models)
        screen.line()
        seconds = time.monotonic() - self._began
        screen.line(f"All of this took {seconds:.1f} s. " + screen.style("Next: isopod demo --full", "dim"))
        return 0 if self._good else 1

    # ------------------------------------------------------------------ the environments, the pickles, the workers

    def _prepare(self, crew: Crew, path: Path) -> list[isopod.Model]:
        self._screen.heading("Two environments that cannot be one")
        with bars(self._screen, [version.name for version in self._versions]) as shown:
            for version in self._versions:  # one that is not there, and may not be fetched, is said before any work
                reporter = Reporter(shown.listener(version.name))
                find_or_download(version.env.python, wanted=version.env.download_python, reporter=reporter)
            futures = [crew.start(self._one, crew, version, shown, path) for version in self._versions]
            models = [future.result() for future in futures]
        for version in self._versions:
            facts = f"Python {version.python:<8} {version.built}"
            if version.trained:
                facts += f", trained in {version.trained:.1f} s"
            self._fact(True, f"{version.name}   {facts}")
        return models

    def _one(self, crew: Crew, version: Version, shown: Bars, path: Path) -> isopod.Model:
        """Build, train and start one version; runs beside the other."""
        if not (version.pickle.exists() and version.held_out.exists()):
            self._train(crew, version, shown)
        arguments = {"path": str(version.pickle), "lobby": str(path)}
        model = crew.load("sklearn_pickle.py:Pickle", version.env, version.name, arguments, shown, version.built)
        shown.tell(version.name, "ready")
        return model

    def _train(self, crew: Crew, version: Version, shown: Bars) -> None:
        version.pickle.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        arguments = {"kind": version.kind, "pickle_path": str(version.pickle)}
        trainer = crew.load("sklearn_trainer.py:Trainer", version.env, version.name, arguments, shown, version.built)
        shown.tell(version.name, "train")
        began = time.monotonic()
        rows = trainer(held_out=_EVERY)
        part = version.held_out.with_suffix(".part.npz")
        np.savez(part, **rows)
        os.replace(part, version.held_out)
        version.trained = time.monotonic() - began
        trainer.close()

    # ------------------------------------------------------------------ what is shown

    def _ask(self, models: list[isopod.Model]) -> None:
        screen = self._screen
        with np.load(self._versions[0].held_out, allow_pickle=False) as file:
            rows: dict[str, Any] = dict(file)
        answers = [dict(model(digits=rows["digits"], wine=rows["wine"])) for model in models]
        screen.heading("One application asks both, about what neither has seen before")
        for version, answer in zip(self._versions, answers, strict=True):
            right = {name: float(np.mean(answer[name] == rows[f"{name}_labels"])) for name in ("digits", "wine")}
            counts = {name: len(rows[name]) for name in right}
            self._fact(
                min(right.values()) > _GOOD,
                f"{version.name}   {version.what:<14}  {right['digits']:.1%} of {counts['digits']} digits, "
                f"{right['wine']:.1%} of {counts['wine']} wines",
            )
        screen.line()
        self._show_digit(rows, answers)
        for model in models:
            for image in rows["digits"][:_SINGLE_CALLS]:
                model(digits=image[None])

    def _show_digit(self, rows: dict[str, Any], answers: list[dict[str, Any]]) -> None:
        """One digit on which the two differ: then everybody sees that two models answered."""
        screen = self._screen
        differ = np.flatnonzero(answers[0]["digits"] != answers[1]["digits"])
        chosen = int(differ[0]) if len(differ) else 0
        said = [
            f"{version.name:<18}  {int(answer['digits'][chosen])}   "
            + screen.style(f"{float(answer['digits_chance'][chosen]):.0%} sure", "dim")
            for version, answer in zip(self._versions, answers, strict=True)
        ]
        wine = rows["wine"][0]
        growers = [int(answer["wine"][0]) + 1 for answer in answers]
        verdict = f"Both say grower {growers[0]}." if growers[0] == growers[1] else f"{growers[0]} or {growers[1]}."
        beside = [
            "",
            screen.style(f"Which digit is it? They differ on {len(differ)} of {len(rows['digits'])}.", "bold"),
            *said,
            screen.style(f"{'the right answer':<18}  {int(rows['digits_labels'][chosen])}", "dim"),
            "",
            f"{screen.style('Who made a wine of ' + f'{wine[0]:.1f}% alcohol?', 'bold')} {verdict}",
            "",
        ]
        image = picture(rows["digits"][chosen].reshape(8, 8), blocks=screen.unicode)
        for pixels, text in zip(image, beside, strict=True):
            screen.line(f"    {screen.style(pixels, 'cyan')}    {text}".rstrip())

    def _confuse(self, models: list[isopod.Model]) -> None:
        """Hand each pickle to the other version: what anybody gets who has one environment for both."""
        self._screen.heading("Without isopod, one of them would have to read the other's pickle")
        for here, there in ((0, 1), (1, 0)):
            pickle, number = self._versions[there].pickle, self._versions[there].name.split()[1]
            try:
                models[here](another=str(pickle))
            except isopod.ModelError as error:
                self._screen.line(
                    f"  {self._screen.mark(False)} {self._versions[here].name} fails on that of {number}:"
                )
                name, message = error.type_name.removeprefix("builtins."), error.remote_message.splitlines() or [""]
                self._screen.quote([f"{name}: {message[0]}"], "red")
            else:
                self._fact(False, f"{self._versions[here].name} reads the pickle of {number}, which nobody expected")

    def _crash(self, models: list[isopod.Model], path: Path) -> None:
        screen = self._screen
        neighbour, victim = models
        pid = neighbour.health.pid
        screen.heading(f"A worker is killed in the middle of a call: kill -9 {victim.health.pid}")
        crash = kill_in_mid_call(victim, path)
        screen.quote(str(crash).splitlines(), "yellow")
        self._fact(crash is not None, "the caller got this text in an exception, and the application goes on")
        image = np.zeros((1, 64))
        began = time.monotonic()
        answered = victim(digits=image)
        milliseconds = (time.monotonic() - began) * 1e3
        self._fact(
            len(answered["digits"]) == 1,
            f"the next call was answered after {milliseconds:.0f} ms, by a new worker: pid {victim.health.pid}",
        )
        neighbour(digits=image)
        self._fact(
            neighbour.health.pid == pid and not neighbour.stats().crashes,
            f"{neighbour.name} noticed nothing: still pid {pid}",
        )

    def _bill(self, models: list[isopod.Model]) -> None:
        self._screen.heading("What it costs")
        entries = [
            Entry(version.name, version.python, model.stats())
            for version, model in zip(self._versions, models, strict=True)
        ]
        bill(self._screen, entries, ("calls", "a call", "isopod", "memory", "crashes", "start"))

    def _fact(self, good: bool, text: str) -> None:
        self._good = self._good and good
        self._screen.line(f"  {self._screen.mark(good)} {text}")


def _scikit_learn_here() -> str:
    return "no scikit-learn" if "sklearn" not in sys.modules else "and a scikit-learn of its own"
