"""The machine's facts, without which no figure means anything, and who else used it during the run."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import resource
from dataclasses import dataclass

import numpy as np


def facts() -> dict[str, str]:
    """Name and value, in the order of the report."""
    allowed, present = len(os.sched_getaffinity(0)), os.cpu_count()
    return {
        "isopod": _version(),
        "processor": f"{_processor()}, {platform.machine()}",
        "cores": f"{allowed}" if allowed == present else f"{allowed} of {present}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": np.__version__,
    }


@dataclass(frozen=True)
class Load:
    """Processor time so far, in seconds: all of it, what was busy, what a hypervisor took, and what we used."""

    total: float
    busy: float
    stolen: float
    ours: float
    averages: tuple[float, float, float]

    @classmethod
    def now(cls) -> Load:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(field) for field in file.readline().split()[1:9]]
        user, nice, system, idle, waiting, interrupt, soft, stolen = (tick / os.sysconf("SC_CLK_TCK") for tick in ticks)
        busy = user + nice + system + interrupt + soft
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        ours = sum(use.ru_utime + use.ru_stime for use in usage)
        return cls(busy + idle + waiting + stolen, busy, stolen, ours, os.getloadavg())

    def since(self, before: Load) -> dict[str, str]:
        """What others did meanwhile. Children that are still running count as others: end them first."""
        others, stolen = self.shares_since(before)
        return {
            "load average": f"{_text(before)} before, {_text(self)} after (1, 5, 15 minutes)",
            "others": f"{others:.0%} of the processor time went to other processes, {stolen:.0%} to the hypervisor",
        }

    def shares_since(self, before: Load) -> tuple[float, float]:
        """Of the processor time meanwhile: what others used, and what a hypervisor took."""
        total = max(self.total - before.total, 1e-9)
        others = max(0.0, (self.busy - before.busy) - (self.ours - before.ours)) / total
        return others, (self.stolen - before.stolen) / total


def _text(load: Load) -> str:
    return " ".join(f"{value:.2f}" for value in load.averages)


def _version() -> str:
    try:
        return importlib.metadata.version("isopod")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that nobody installed
        return "unknown"


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or "an unnamed processor"
