"""Calling a model, in every way there is: what goes in, what comes out, and in which order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waits import GUARD, until

import isopod
from isopod import ModelError, SpecError, WorkerTimeout


@pytest.fixture(scope="module")
def scale(_supervisor_at_rest: None, models: Path) -> Iterator[isopod.Model]:
    with isopod.load(models / "basic.py:Scale", args={"factor": 2}, timeout=GUARD) as model:
        model(x=np.ones(4))
        yield model


def test_a_class_is_made_with_its_arguments_and_called_by_keyword_or_dict(scale: isopod.Model) -> None:
    assert scale(x=np.arange(3.0))["y"].tolist() == [0, 2, 4]
    assert scale({"x": np.arange(3.0)})["y"].tolist() == [0, 2, 4]
    assert scale({"x": 3})["y"] == 6


@pytest.mark.parametrize(
    ("attribute", "inputs", "outputs"),
    [
        ("double", {"x": 2}, {"y": 4}),
        ("with_default", {"x": 2}, {"y": 6}),
        ("anything", {"a": 1, "b": "two"}, {"a": 1, "b": "two"}),
        ("Outer.Inner.run", {"x": 1}, {"y": 101}),
        ("two", {"x": 1}, {"output_0": 1, "output_1": 2}),
        ("just_one", {"x": 1}, {"output": 2}),
        ("named_pair", {"x": np.array([3, 1, 2])}, {"low": 1, "high": 3}),
    ],
)
def test_functions_and_what_their_outputs_are_called(
    models: Path, attribute: str, inputs: dict[str, Any], outputs: dict[str, Any]
) -> None:
    with isopod.load(f"{models / 'basic.py'}:{attribute}") as model:
        assert model.outputs == ()
        assert dict(model(inputs)) == outputs
        assert tuple(map(attrgetter("name"), model.outputs)) == tuple(outputs)
        assert model.name == attribute.rpartition(".")[2]
        if len(outputs) == 1:
            assert model(inputs).value == next(iter(outputs.values()))
        else:
            with pytest.raises(ValueError, match="unpack"):
                _ = model(inputs).value


def test_a_module_of_the_environment_is_a_target_too() -> None:
    with isopod.load("json:dumps", name="writer") as model:
        assert model(obj=[1, 2])["output"] == "[1, 2]"
        assert model.name == "writer"
        assert repr(model) == "<Model 'writer' ready>"


def test_the_interface_is_known_before_the_first_call(models: Path) -> None:
    with isopod.load(models / "basic.py:with_default") as model:
        assert [(item.name, item.required) for item in model.inputs] == [("x", True), ("factor", False)]


def test_arguments_of_every_plain_kind_arrive(swiss: isopod.Model) -> None:
    values: dict[str, Any] = {"a": None, "b": True, "c": -5, "d": 2.5, "e": "🦐", "f": b"\0\xff", "g": [1, [{"h": []}]]}
    assert dict(swiss(do="echo", x=values))["x"] == values


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(2, 3, 4)[:, ::-1].T,
        np.float32(2.5),
        np.zeros((0, 3), np.int8),
        np.array(["🦐", "", "a b"]),
        np.array([b"abc", b"d"]),
        np.array(True),
        np.arange(5, dtype=">f8"),
        np.array(["object", "text"], object),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_go_there_and_back(swiss: isopod.Model, array: Any) -> None:
    there = swiss(do="describe", x=array)
    assert there["shape"] == list(array.shape)
    back = swiss(do="echo", x=array)["x"]
    assert back.shape == array.shape
    assert back.tolist() == array.tolist()
    if array.dtype.kind not in "UO":
        back[...] = back  # writable


def test_a_future_is_answered(swiss: isopod.Model) -> None:
    futures = [swiss.submit(do="double", x=np.full(4, number)) for number in range(200)]
    assert [future.result(GUARD)["y"][0] for future in futures] == [2 * number for number in range(200)]
    failed = swiss.submit(do="raise", x=1)
    assert isinstance(failed.exception(GUARD), ModelError)


def test_a_callback_may_call_the_model(swiss: isopod.Model) -> None:
    answers: Future[Any] = Future()

    def again(future: Future[Any]) -> None:
        try:
            answers.set_result([future.result()["y"], swiss(do="double", x=21)["y"], threading.current_thread().name])
        except BaseException as error:
            answers.set_exception(error)

    swiss.submit(do="double", x=1).add_done_callback(again)
    assert answers.result(GUARD)[:2] == [2, 42]
    assert swiss.submit(do="double", x=1).result(GUARD)["y"] == 2


def test_a_thousand_tasks(swiss: isopod.Model) -> None:
    async def many() -> list[Any]:
        return await asyncio.gather(*(swiss.acall(do="double", x=number) for number in range(1000)))

    assert [answer["y"] for answer in asyncio.run(many())] == [2 * number for number in range(1000)]


def test_the_loop_goes_on_while_a_task_waits(swiss: isopod.Model, tmp_path: Path) -> None:
    async def touch_while_it_waits() -> Any:
        waiting = asyncio.create_task(swiss.acall(do="wait_for_file", x=str(tmp_path / "go")))
        await asyncio.sleep(0)
        (tmp_path / "go").touch()
        return await waiting

    assert asyncio.run(touch_while_it_waits())["seen"] == str(tmp_path / "go")


def test_a_cancelled_task_drops_its_answer(swiss: isopod.Model, tmp_path: Path) -> None:
    async def cancel() -> None:
        waiting = asyncio.create_task(swiss.acall(do="wait_for_file", x=str(tmp_path / "go")))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        (tmp_path / "go").touch()
        assert (await swiss.acall(do="double", x=2))["y"] == 4

    asyncio.run(cancel())
    assert swiss(do="double", x=1)["y"] == 2


def test_map_keeps_the_order_and_works_ahead(swiss: isopod.Model) -> None:
    taken: list[int] = []

    def batches() -> Iterator[dict[str, Any]]:
        for number in range(30):
            taken.append(number)
            yield {"do": "double", "x": np.full(100, number)}

    answers = swiss.map(batches(), ahead=3)
    assert next(answers)["y"][0] == 0
    assert taken == [0, 1, 2, 3]  # three are under way while the first is looked at
    assert [answer["y"][0] for answer in answers] == [2 * number for number in range(1, 30)]


def test_map_overlaps_sending_with_computing(swiss: isopod.Model, tmp_path: Path) -> None:
    """The first batch is computed until the second one has been sent: without overlap nothing would ever come."""

    def batches() -> Iterator[dict[str, Any]]:
        yield {"do": "wait_for_file", "x": str(tmp_path / "second")}
        (tmp_path / "second").touch()
        yield {"do": "double", "x": 2}

    assert len(list(swiss.map(batches(), timeout=GUARD))) == 2


def test_map_may_be_left_early_and_the_model_goes_on(swiss: isopod.Model) -> None:
    answers = swiss.map({"do": "double", "x": number} for number in range(10))
    assert next(answers)["y"] == 0
    answers.close()  # type: ignore[attr-defined]
    assert swiss(do="double", x=4)["y"] == 8
    assert list(swiss.map([])) == []


def test_map_says_an_error_in_its_turn(swiss: isopod.Model) -> None:
    batches: list[Any] = [{"do": "double", "x": 1}, {"do": "raise", "x": 0}, {"do": "double", "x": 2}]
    answers = swiss.map(batches)
    assert next(answers)["y"] == 2
    with pytest.raises(ModelError, match="outer reason"):
        next(answers)
    answers = swiss.map([{"do": "double", "x": 1}, {"do": "double", "x": {1, 2}}])
    assert next(answers)["y"] == 2  # a batch that cannot be sent is no reason to lose the one before it
    with pytest.raises(SpecError, match="set"):
        next(answers)
    with pytest.raises(SpecError, match="at least one batch ahead"):
        next(swiss.map(batches, ahead=0))
    assert swiss(do="double", x=4)["y"] == 8


def test_four_threads_get_their_own_answers(swiss: isopod.Model) -> None:
    wrong: list[Any] = []

    def work(thread: int) -> None:
        for number in range(200):
            mark = thread * 1000 + number
            answer = swiss(do="double", x=np.full(50, mark))["y"]
            if not (answer == 2 * mark).all():
                wrong.append((mark, answer))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_all_kinds_of_callers_at_once(swiss: isopod.Model) -> None:
    done: list[str] = []

    def sync() -> None:
        done.extend("sync" for number in range(100) if swiss(do="double", x=number)["y"] == 2 * number)

    def futures() -> None:
        sent = [(number, swiss.submit(do="double", x=number)) for number in range(100)]
        done.extend("future" for number, future in sent if future.result(GUARD)["y"] == 2 * number)

    def tasks() -> None:
        async def gather() -> list[Any]:
            return await asyncio.gather(*(swiss.acall(do="double", x=number) for number in range(100)))

        done.extend("task" for number, answer in enumerate(asyncio.run(gather())) if answer["y"] == 2 * number)

    def mapped() -> None:
        answers = swiss.map({"do": "double", "x": number} for number in range(100))
        done.extend("map" for number, answer in enumerate(answers) if answer["y"] == 2 * number)

    threads = [threading.Thread(target=part) for part in (sync, futures, tasks, mapped)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {kind: done.count(kind) for kind in set(done)} == {"sync": 100, "future": 100, "task": 100, "map": 100}


def test_stats_count_what_happened(models: Path) -> None:
    with isopod.load(models / "basic.py:Swiss") as model:
        for _ in range(10):
            model(do="double", x=np.ones(1000))
        with pytest.raises(ModelError):
            model(do="raise", x=1)
        stats = model.stats()
        assert (stats.calls, stats.errors, stats.crashes, stats.restarts) == (11, 1, 0, 0)
        assert stats.latency.samples == stats.compute.samples == 11
        assert 0 < stats.latency.min_us <= stats.latency.median_us <= stats.latency.p99_us
        assert stats.compute.median_us <= stats.latency.median_us
        assert stats.bytes_copied_in == stats.bytes_copied_out == 80_000
        assert stats.rss_bytes > 1 << 20
        assert stats.shared_bytes_used == 0
        assert f"calls    {stats.calls}, 1 errors" in str(stats)


def test_health_is_the_truth(models: Path) -> None:
    with isopod.load(models / "basic.py:Swiss") as model:
        health = model.health
        assert health.ready
        assert health.state == "ready"
        assert health.pid == model(do="pid")["pid"]
        assert health.restarts == 0
        assert health.last_crash is None
        assert model.health.uptime > health.uptime > 0
    assert model.health.state == "closed"
    assert not model.health.ready
    assert model.health.pid is None


# ---------------------------------------------------------------------- the model's own errors


@pytest.mark.parametrize(
    ("do", "type_name", "facts"),
    [
        ("raise", "ValueError", ["outer reason: 3", "KeyError: 'the inner reason'", "direct cause", "do_raise"]),
        ("exit", "SystemExit", ["5"]),
        ("interrupt", "KeyboardInterrupt", []),
        ("unprintable", "basic.Swiss.do_unprintable.<locals>.Unprintable", ["its text cannot be had"]),
        ("long_error", "ValueError", ["long long", "characters left out"]),
        ("recurse", "RecursionError", ["do_recurse"]),
        ("missing_module", "ModuleNotFoundError", ["no_such_module_at_all", "to the requirements"]),
        ("broken_pipe", "BrokenPipeError", ["Broken pipe"]),
        ("no_such_thing", "AttributeError", ["do_no_such_thing"]),
    ],
)
def test_what_a_model_raises_arrives_as_text_and_its_worker_lives(
    swiss: isopod.Model, do: str, type_name: str, facts: list[str]
) -> None:
    before = swiss(do="pid")["pid"]
    with pytest.raises(ModelError, match="Swiss") as caught:
        swiss(do=do, x=3)
    error = caught.value
    assert error.type_name == type_name
    assert isinstance(error, RuntimeError)
    for fact in facts:
        assert fact in str(error)
    assert "opeworker" not in error.remote_traceback  # no frames of ours
    assert len(str(error)) < 40_000
    assert swiss(do="pid")["pid"] == before


@pytest.mark.parametrize(
    ("what", "fact"),
    [
        ("none", "the model returned None"),
        ("set", "a is a builtins.set"),
        ("object", "a is a builtins.object"),
        ("int keys", "the key 1; output names are str"),
        ("deep int keys", "dict key of type int"),
        ("datetime", r"dtype datetime64\[s\] cannot be sent"),
        ("object array", "holds a value of type object"),
        ("huge int", "does not fit into 64 bits"),
        ("long text", "at most 262144 can be sent; use arrays"),
    ],
)
def test_what_cannot_be_returned_is_the_models_error(swiss: isopod.Model, what: str, fact: str) -> None:
    before = swiss(do="pid")["pid"]
    with pytest.raises(ModelError, match=f"returned what cannot be sent: .*{fact}"):
        swiss(do="return", x=what)
    assert swiss(do="pid")["pid"] == before


def test_thousands_of_tensors_in_one_call(swiss: isopod.Model) -> None:
    many = swiss(do="many_outputs", x=4096)
    assert [array.tolist() for array in many.values()] == [[number] * 3 for number in range(4096)]
    with pytest.raises(ModelError, match="4097 tensors in one call"):
        swiss(do="many_outputs", x=4097)
    back = swiss({"do": "echo", **{f"input_{number}": np.full(2, number) for number in range(4096)}})
    assert back["input_4095"].tolist() == [4095, 4095]
    del many, back
    assert len(swiss(do="many_outputs", x=4096)) == 4096


# ---------------------------------------------------------------------- deadlines


def test_waiting_in_line_ends_at_the_deadline_and_the_worker_goes_on(swiss: isopod.Model, tmp_path: Path) -> None:
    before = swiss(do="pid")["pid"]
    first = swiss.submit(do="wait_for_file", x=str(tmp_path / "go"))
    with pytest.raises(WorkerTimeout, match=r"waiting in line .* deadline of 0\.05 s.*had not been started") as caught:
        swiss(do="double", x=1, timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.report is None
    late = swiss.submit(do="double", x=1, timeout=0.05)
    assert isinstance(late.exception(GUARD), WorkerTimeout)
    (tmp_path / "go").touch()
    first.result(GUARD)
    assert swiss(do="pid")["pid"] == before


def test_a_long_record_that_is_late_harms_nobody(swiss: isopod.Model, tmp_path: Path) -> None:
    """Its memory is not read once its caller was told, for by then it holds something else."""
    before = swiss(do="pid")["pid"]
    first = swiss.submit(do="wait_for_file", x=str(tmp_path / "go"))
    with pytest.raises(WorkerTimeout, match="waiting in line"):
        swiss(do="echo", x="a long text " * 1000, timeout=0.05)
    others = [swiss.submit(do="echo", x=np.full(20_000, 255, np.uint8)) for _ in range(4)]
    (tmp_path / "go").touch()
    first.result(GUARD)
    for other in others:
        assert other.result(GUARD)["x"].tolist() == [255] * 20_000
    assert swiss(do="pid")["pid"] == before


# ---------------------------------------------------------------------- what it prints


def test_what_a_model_prints_is_logged_line_by_line(swiss: isopod.Model, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="isopod.worker")
    assert swiss(do="print", x=1000)["printed"] == 1000
    wait_for_lines(swiss, caplog)
    lines = [record for record in caplog.records if record.name == "isopod.worker.Swiss.0"]
    assert [record.getMessage() for record in lines if record.levelname == "INFO"] == [
        f"line {number}" for number in range(1000)
    ]
    assert [record.getMessage() for record in lines if record.levelname == "WARNING"] == ["last words"]


def wait_for_lines(model: isopod.Model, caplog: pytest.LogCaptureFixture) -> None:
    """Lines come by a way of their own, in their order: until the last one has come."""
    until(lambda: model(do="pid") and caplog.records and caplog.records[-1].getMessage() == "last words")


def test_a_model_that_prints_a_lot_is_not_held_up_and_nothing_is_lost_unseen(
    swiss: isopod.Model, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="isopod.worker")
    assert swiss(do="print", x=100_000)["printed"] == 100_000
    # Says its last words, which are dropped for as long as there is no room.
    until(lambda: swiss(do="print", x=0) and caplog.records and caplog.records[-1].getMessage() == "last words")
    numbers = [int(text.split()[1]) for text in caplog.messages if text.startswith("line ")]
    assert numbers == sorted(set(numbers))
    caplog.clear()
