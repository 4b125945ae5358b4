"""Which accelerators a worker sees: names as a user writes them, made the variables that CUDA reads.

An environment's ``devices`` are those that each of its workers sees. The ``device`` of one model is one among them, and
its worker sees no other: ``narrowed`` says that in the same variables.

A worker can see no more than the application. Where that has a ``CUDA_VISIBLE_DEVICES`` of its own, ``cuda:1`` is the
second device of that list, as it is for any framework in the application. Otherwise numbers are those of ``nvidia-smi``
(``CUDA_DEVICE_ORDER=PCI_BUS_ID``), because CUDA's own order, the fastest first, changes with the cards in a machine.
https://docs.nvidia.com/cuda/cuda-c-programming-guide/#env-vars
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from isopod.ipc.errors import SpecError

VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
NONE = "-1"  # not the empty string, which some tools take for a variable that is not set
_CUDA = re.compile(r"cuda:(0|[1-9]\d{0,3})")
_UUID = re.compile(r"(GPU|MIG)-[0-9A-Za-z/-]+")


def parse(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """``"cpu"`` and ``[]`` are none of them, None all that the application sees.

    Raises ``SpecError`` for a name that no device has, and for one that comes twice.
    """
    if given is None:
        return None
    names: tuple[object, ...] = (given,) if isinstance(given, str) else tuple(given)
    if names == ("cpu",):
        return ()
    found: list[str] = []
    for name in names:
        if not isinstance(name, str) or not (_CUDA.fullmatch(name) or _UUID.fullmatch(name)):
            raise SpecError(f"devices: {name!r} is not a device: write 'cuda:0', the UUID of a GPU, or 'cpu' alone")
        if name in found:
            raise SpecError(f"devices: {name!r} comes twice; each device is named once")
        found.append(name)
    return tuple(found)


def check(devices: Sequence[str] | None, variables: Mapping[str, str], unset: Sequence[str]) -> None:
    """Raises ``SpecError`` where visibility is said twice."""
    if devices is None:
        return
    for name, where in ((VISIBLE, variables), (VISIBLE, unset)):
        if name in where:
            which = "variables" if where is variables else "unset"
            raise SpecError(f"devices and {name} in {which} both say which devices are visible: say one of the two")


def visibility(
    devices: Sequence[str] | None, variables: Mapping[str, str], unset: Sequence[str], application: Mapping[str, str]
) -> dict[str, str]:
    """The variables that make just these ``devices`` visible, besides ``variables`` and without ``unset``.

    ``application`` are the variables of this process. Raises ``SpecError`` for a device that it does not see itself.
    """
    if devices is None:
        return {}
    if not devices:
        return {VISIBLE: NONE}
    if VISIBLE not in application:
        chosen = {VISIBLE: ",".join(name.partition(":")[2] or name for name in devices)}
        said = ORDER in variables or ORDER in unset or ORDER in application
        return chosen if said else {**chosen, ORDER: "PCI_BUS_ID"}
    seen = _seen(application[VISIBLE])
    found = [_among(name, seen, application[VISIBLE]) for name in devices]
    order = variables.get(ORDER, None if ORDER in unset else application.get(ORDER))
    if order != application.get(ORDER) and any(name.isdigit() for name in found):
        raise SpecError(
            f"devices={list(devices)!r} are numbers in this application's {VISIBLE}={application[VISIBLE]}, and with "
            f"another {ORDER} they would be other devices: set it for the application, or name them by UUID"
        )
    return {VISIBLE: ",".join(found)}


def narrowed(device: str | None, variables: Mapping[str, str | None], application: Mapping[str, str]) -> dict[str, str]:
    """The variables that make one device the only one that a worker sees, besides its ``variables``, which are its
    environment's (None is one that it does not inherit); ``"cpu"`` is none, None all as they are.

    Its number counts in the environment's own list where that has one, and else as ``visibility`` has it. Raises
    ``SpecError`` for a number that is not in the list.
    """
    if device is None:
        return {}
    if device == "cpu":
        return {VISIBLE: NONE}
    number = int(device.partition(":")[2] or 0)
    own = variables.get(VISIBLE)
    if own is None:
        unset = [name for name, value in variables.items() if value is None]
        around = {name: value for name, value in application.items() if name not in unset}
        said = {name: value for name, value in variables.items() if value is not None}
        return visibility([f"cuda:{number}"], said, unset, around)
    there = _seen(own)
    if number >= len(there):
        raise SpecError(
            f"there is no {device!r} among the devices that the model's environment lets it see, which are "
            f"{len(there) or 'none'} ({VISIBLE}={own}): device='cuda:0' is the first of Env(devices=[…])"
        )
    return {VISIBLE: there[number]}


def _seen(text: str) -> list[str]:
    """Those of a list that are seen. As CUDA reads it: what stands behind a device that cannot be is not seen."""
    seen: list[str] = []
    for item in (item.strip() for item in text.split(",")):
        if not item.isdigit() and not _UUID.fullmatch(item):
            break
        seen.append(item)
    return seen


def _among(name: str, seen: Sequence[str], text: str) -> str:
    """What the application calls a device that is to be seen."""
    number = _CUDA.fullmatch(name)
    if number is not None and int(number[1]) < len(seen):
        return seen[int(number[1])]
    # CUDA takes the beginning of a UUID for the whole; of a device that is listed by number, no UUID is known
    if number is None and any(item.isdigit() or item.startswith(name) or name.startswith(item) for item in seen):
        return name
    raise SpecError(f"this application does not see the device {name!r} itself: it runs with {VISIBLE}={text}")
