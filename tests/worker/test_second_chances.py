"""Second chances: what a worker had when it died goes on to another one, and a poisonous call is given up."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from callers import CALLERS
from waits import GUARD
from worker.fleets import UNBOUNDED, Seen

import isopod
from isopod import Restart, SpecError, WorkerCrashed


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.__name__)
@pytest.mark.parametrize("standby", [0, 1])
def test_with_retries_a_crash_is_invisible(member: str, seen: Seen, caller: Any, standby: int) -> None:
    with isopod.load(member, retries=2, standby=standby, restart=UNBOUNDED) as model:
        path, count = seen()
        assert caller(model, x=7, seen=path, deadly=2)["x"] == 7
        assert count() == 3
        assert model.stats().crashes == 2
        assert model.stats().shared_bytes_used == 0


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.__name__)
def test_a_call_that_kills_each_worker_is_given_up_after_its_retries(member: str, seen: Seen, caller: Any) -> None:
    restart = Restart(max_restarts=1)  # its three crashes count as one: it is no reason to open the circuit
    with isopod.load(member, retries=2, restart=restart) as model:
        path, count = seen()
        fact = r"model 'Member': this call has killed 3 workers, .* not tried again"
        with pytest.raises(WorkerCrashed, match=fact) as caught:
            caller(model, seen=path, deadly=99)
        assert count() == 3
        assert caught.value.report is not None
        assert model(x=1)["x"] == 1


def test_a_poisonous_call_does_not_take_the_others_down(member: str, seen: Seen) -> None:
    with isopod.load(member, workers=2, retries=1, restart=UNBOUNDED) as model:
        done = threading.Event()
        outs: list[int] = []
        failures: list[Exception] = []

        def work() -> None:
            while not done.is_set():
                try:
                    outs.append(model(x=3)["x"])
                except isopod.IsopodError as error:
                    failures.append(error)

        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for _ in range(4):
            with pytest.raises(WorkerCrashed, match="killed 2 workers"):
                model(seen=seen()[0], deadly=99)
        done.set()
        for worker in workers:
            worker.join(GUARD)
        assert failures == []
        assert set(outs) == {3}


@pytest.mark.parametrize("caller", ["future", "task"])
def test_what_was_in_line_behind_a_deadly_call_goes_on_without_being_asked(
    member: str, seen: Seen, tmp_path: Path, caller: str
) -> None:
    """No retries were asked for, so the one that ran fails; the others no model has seen, and each is seen once."""
    with isopod.load(member, restart=UNBOUNDED) as model:
        arrays = [np.full(1000, number) for number in range(100)]
        counts = [seen() for _ in arrays]
        deadly, _ = seen()

        async def tasks() -> list[Any]:
            first = model.acall(seen=deadly, deadly=1)
            others = [model.acall(x=array, seen=path) for array, (path, _) in zip(arrays, counts, strict=True)]
            return await asyncio.gather(first, *others, return_exceptions=True)

        def futures() -> list[Any]:
            first = model.submit(seen=deadly, deadly=1)
            others = [model.submit(x=array, seen=path) for array, (path, _) in zip(arrays, counts, strict=True)]
            for array in arrays:
                array[:] = -1  # they were copied in before submit returned
            return [first.exception(GUARD), *(other.result(GUARD) for other in others)]

        error, *outs = asyncio.run(tasks()) if caller == "task" else futures()
        assert isinstance(error, WorkerCrashed)
        assert [out["x"].tolist() for out in outs] == [[number] * 1000 for number in range(100)]
        assert [count() for _, count in counts] == [1] * 100
        del outs
        assert model.stats().shared_bytes_used == 0


def test_what_is_sent_again_is_not_copied_again(member: str, seen: Seen) -> None:
    """Arrays, text, what is not an array, and a record that is too long for its slot."""
    many = {f"name_{number}": np.float32(number) for number in range(100)}
    inputs = {"x": np.arange(100_000), "text": np.array(["a", "🦐"]), "plain": {"a": [1, None]}, **many}
    with isopod.load(member, retries=1, restart=UNBOUNDED) as model:
        model(**inputs)
        before = model.stats().bytes_copied_in
        model(**inputs)
        once = model.stats().bytes_copied_in - before
        out = model(**inputs, seen=seen()[0], deadly=1)
        again = model.stats().bytes_copied_in - before - once
        assert once <= again < once + 20_000  # the record itself, where it was spilled
        assert out["x"].tolist() == list(range(100_000))
        assert out["text"].tolist() == ["a", "🦐"]
        assert out["plain"] == {"a": [1, None]}
        assert [out[name] for name in many] == list(range(100))


def test_an_output_of_another_model_that_is_closed_meanwhile_is_sent_again(member: str, seen: Seen) -> None:
    with isopod.load(member, retries=1, restart=UNBOUNDED) as model:
        with isopod.load(member, name="other") as other:
            foreign = other(x=np.arange(1000))["x"]
        assert model(x=foreign, seen=seen()[0], deadly=1)["x"].tolist() == list(range(1000))


def test_submit_does_not_wait_for_a_worker(models: Path, tmp_path: Path) -> None:
    flag = tmp_path / "loads for ever"
    with isopod.load(models / "races.py:SlowToLoad", args={"flag": str(flag)}) as model:
        flag.touch()
        with pytest.raises(WorkerCrashed):
            model(die=True)
        futures = [model.submit() for _ in range(100)]
        cancelled = futures.pop()
        assert cancelled.cancel()
        assert not any(future.done() or future.running() for future in futures)
        with pytest.raises(SpecError, match="no input 'x'"):
            model.submit(x=1)
        with pytest.raises(SpecError, match="cannot be sent"):
            model.submit(die=object())
        flag.unlink()
        assert {future.result(GUARD)["pid"] for future in futures} == {model.health.pid}
        assert model.stats().calls == 99
        assert model.stats().shared_bytes_used == 0
