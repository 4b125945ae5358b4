"""The application that is attacked: runs every attack in one profile, looks at the victims, and prints what came of it.

    python harness.py MODELS PROFILE [ATTACK ...]

A process of its own, so that it can run as another user, or behind a container's filter. It prints JSON: for each
attack a verdict (``succeeded``, ``refused``, or ``died``: the worker was ended for it) and why. After each attack the
next call must be answered, and rightly.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import isopod

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from attacks.victims import Victims  # noqa: E402

_DEADLINE = 20.0  # seconds: a hang guard
_SHORT = 2.0  # for what hangs by intent
_HANGS = ("stop_itself", "close_everything")
_ENDS_US = ("bells_of_garbage",)  # but under strict, whose doorbells are guarded: see tests/ipc/test_doorbell.py


def main() -> None:
    models, profile, wanted = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    logging.basicConfig(level=logging.CRITICAL)
    os.environ["ISOPOD_ATTACK_SECRET"] = "marker"
    site = Path(os.environ["ISOPOD_ATTACK_SITE"])
    victims = Victims(models, site)
    os.environ["ISOPOD_ATTACK_SECRET"] = victims.marker
    hostile = site / "isopod_hostile_pth.py"
    hostile.write_text(
        f"try:\n    read = open({str(victims.secret)!r}).read()\nexcept OSError as error:\n    read = str(error)\n"
    )
    (site / "isopod_hostile.pth").write_text("import isopod_hostile_pth\n")
    options: dict[str, Any] = {
        "env": os.environ["ISOPOD_ATTACK_ENV"],
        "sandbox": _sandbox(profile),
        "restart": isopod.Restart(max_restarts=10_000, backoff=0.01, max_backoff=0.01),
        "memory_limit": 1 << 30,
    }
    results = {}
    try:
        with isopod.load(models / "attacker.py:names", **{**options, "sandbox": "none"}) as lister:
            attacks = wanted or list(lister()["output"])
        neighbour = isopod.load(models / "attacker.py:Neighbour", **{**options, "sandbox": "limits"})
        attacker = isopod.load(models / "attacker.py:Attacker", args={"victims": victims.facts()}, **options)
        with neighbour, attacker as model:
            for attack in attacks:
                _tell(model, victims)
                if attack in _ENDS_US and profile in ("none", "limits"):
                    results[attack] = {"verdict": "succeeded", "why": "not tried: it would end this very process"}
                    continue
                results[attack] = _attack(model, victims, attack, neighbour)
    finally:
        victims.close()
    print(json.dumps(results))


def _sandbox(profile: str) -> isopod.Sandbox:
    """``processes`` is strict, with processes of its own."""
    readable = [os.environ["ISOPOD_ATTACK_PACKAGES"]]
    if profile == "processes":
        return isopod.Sandbox("strict", readable=readable, allow_subprocess=True, max_processes=64)
    return isopod.Sandbox("strict", readable=readable) if profile == "strict" else isopod.Sandbox(profile)


_told_pid: list[int] = []


def _tell(model: isopod.Model, victims: Victims) -> None:
    """A victim that an attack has ended is another process now: the attacker is told of it."""
    pid = victims.process.alive()
    if _told_pid and _told_pid[0] != pid:
        model.reload(args={"victims": victims.facts()})
    _told_pid[:] = [pid]


def _attack(model: isopod.Model, victims: Victims, attack: str, neighbour: isopod.Model) -> dict[str, str]:
    victims.set_up()
    x = np.arange(4096, dtype=np.float64)
    sent = model.empty("x", x.shape, x.dtype)
    sent[...] = x
    if "neighbour" in attack:
        made = neighbour(marker=victims.marker)
        x, sent = made["given"].copy(), made["given"]
    descriptors, resident = len(os.listdir("/proc/self/fd")), _resident()
    claimed = {"outcome": "died", "why": ""}
    stays = attack == "channel_kept_by_a_child"
    try:
        outputs = model(attack=attack, x=sent, timeout=_SHORT if attack in _HANGS else _DEADLINE)
        stays = bool(outputs.get("stays", 0))
        claimed = {"outcome": str(outputs.get("outcome", "forged")), "why": str(outputs.get("why", ""))}
        if claimed["outcome"] in ("forged", "twice"):
            claimed["outcome"] = "refused"  # its own answer to its own call, in another way
        if claimed["outcome"] == "look":
            claimed = _look(dict(outputs))
        del outputs
    except (isopod.WorkerCrashed, isopod.WorkerTimeout) as error:
        claimed["why"] = str(error).splitlines()[0][:300]
    except isopod.IsopodError as error:
        claimed = {"outcome": "refused", "why": f"{type(error).__name__}: {error}"[:300]}
    harm = victims.harmed(attack, claimed["outcome"] == "succeeded")
    if (attack != "write_into_an_input" and not np.array_equal(sent, x)) or (
        attack == "write_into_an_input" and not np.array_equal(sent, x)
    ):
        harm += " the application's input was changed"
    # A sum of its own: all that the attacks could make the application hold.
    if _resident() - resident > 1 << 30:
        harm += f" the application grew by {(_resident() - resident) >> 20} MiB"
    answer = None
    while answer is None:
        try:
            answer = model(attack="peace", x=np.ones(3), timeout=_DEADLINE)
        except (isopod.WorkerCrashed, isopod.WorkerTimeout) as error:  # what it did comes to light only now
            if claimed["outcome"] == "died late":
                raise
            claimed = {"outcome": "died late", "why": str(error).splitlines()[0][:300]}
    if not np.array_equal(answer["y"], np.full(3, 2.0)):
        harm += " the next answer was wrong"
    del answer, sent
    gc.collect()
    if len(os.listdir("/proc/self/fd")) > descriptors + 40:
        harm += " the application has other descriptors"
    if stays:
        claimed = _outlives(model, victims)
    if harm.strip():
        return {"verdict": "succeeded", "why": harm.strip()}
    return {"verdict": claimed["outcome"].split()[0], "why": claimed["why"]}


def _outlives(model: isopod.Model, victims: Victims) -> dict[str, str]:
    """End the worker, and see whether something that it has started is still there when the next one serves."""
    pid = None
    while pid is None:  # it may be dead already, and the next one on its way
        with contextlib.suppress(isopod.WorkerCrashed):
            model(attack="peace", x=np.ones(3), timeout=_DEADLINE)
            pid = model.health.pid
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(isopod.WorkerCrashed):
        model(attack="peace", x=np.ones(3), timeout=_DEADLINE)
    model(attack="peace", x=np.ones(3), timeout=_DEADLINE)
    left = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if comm.read_text() == f"{victims.facts()['stays']}\n":
                left.append(int(comm.parent.name))
    for number in left:
        os.kill(number, signal.SIGKILL)
    return {"outcome": "succeeded" if left else "refused", "why": f"{len(left)} outlived their worker"}


def _look(outputs: dict[str, Any]) -> dict[str, str]:
    """At an output, twice."""
    if "out" in outputs:
        first = outputs["out"].copy()
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            if not np.array_equal(first, outputs["out"]):
                return {"outcome": "succeeded", "why": "the output changed while it was looked at"}
        return {"outcome": "refused", "why": "the output stayed as it was"}
    raw = outputs["mask"].view(np.uint8)
    bad = int((raw > 1).sum())
    return {"outcome": "succeeded" if bad else "refused", "why": f"{bad} booleans are neither 0 nor 1"}


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
