"""Telling tasks of asyncio from other threads: with one wake-up for all that comes meanwhile, and none is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from interrupts import Interrupt

from isopod.runtime import loops
from isopod.runtime.loops import teller


class Counted(asyncio.SelectorEventLoop):
    """A loop that knows how often it was woken from elsewhere."""

    woken = 0

    def call_soon_threadsafe(self, *args: Any, **named: Any) -> Any:  # type: ignore[override]
        self.woken += 1
        return super().call_soon_threadsafe(*args, **named)


@pytest.fixture
def loop() -> Any:
    made = Counted()
    yield made
    made.close()


def from_a_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_what_comes_until_the_loop_has_looked_wakes_it_once(loop: Counted) -> None:
    async def all_of_them() -> list[None]:
        tell = teller(loop)
        futures = [loop.create_future() for _ in range(100)]
        from_a_thread(lambda: [tell(future) for future in futures])
        assert loop.woken == 1
        told: list[None] = await asyncio.gather(*futures)
        later = loop.create_future()
        from_a_thread(lambda: tell(later))
        await later
        return told

    assert loop.run_until_complete(all_of_them()) == [None] * 100
    assert loop.woken == 2


def test_none_is_forgotten_however_threads_and_loop_meet(loop: Counted) -> None:
    async def one(tell: Callable[[asyncio.Future[None]], None]) -> None:
        for _ in range(300):
            future = loop.create_future()
            from_a_thread_soon(tell, future)
            await future

    asked: list[tuple[Callable[[asyncio.Future[None]], None], asyncio.Future[None]]] = []
    there, over = threading.Semaphore(0), threading.Event()

    def from_a_thread_soon(tell: Callable[[asyncio.Future[None]], None], future: asyncio.Future[None]) -> None:
        asked.append((tell, future))
        there.release()

    def answer() -> None:
        while there.acquire() and not over.is_set():
            tell, future = asked.pop()
            tell(future)

    threads = [threading.Thread(target=answer) for _ in range(3)]
    for thread in threads:
        thread.start()

    async def all_of_them() -> None:
        tell = teller(loop)
        await asyncio.wait_for(asyncio.gather(*(one(tell) for _ in range(20))), 60)

    try:
        loop.run_until_complete(all_of_them())
    finally:
        over.set()
        there.release(3)
        for thread in threads:
            thread.join()


def test_one_that_was_cancelled_stays_so(loop: Counted) -> None:
    async def both() -> None:
        tell = teller(loop)
        first, second = loop.create_future(), loop.create_future()
        first.cancel()
        tell(first)
        tell(second)
        await second
        assert first.cancelled()

    loop.run_until_complete(both())


def test_a_loop_that_was_closed_is_told_nothing_and_nothing_is_kept_for_it() -> None:
    loop = Counted()

    async def ask() -> tuple[Callable[[asyncio.Future[None]], None], asyncio.Future[None]]:
        return teller(loop), loop.create_future()

    tell, future = loop.run_until_complete(ask())
    loop.close()
    for _ in range(3):
        tell(future)
    kept = weakref.ref(future)
    del future
    gc.collect()
    assert kept() is None


def test_each_loop_of_a_thread_hears_of_its_own() -> None:
    async def call() -> None:
        future = asyncio.get_running_loop().create_future()
        tell = teller(asyncio.get_running_loop())
        from_a_thread(lambda: tell(future))
        await asyncio.wait_for(future, 60)

    for _ in range(3):
        asyncio.run(call())


def test_an_interrupt_in_the_middle_leaves_none_untold(loop: Counted) -> None:
    """Ctrl-C strikes while the first one is told; the loop is run on."""
    strikes = iter([True])

    class Struck(asyncio.Future[None]):
        def done(self) -> bool:
            if next(strikes, False):
                raise KeyboardInterrupt
            return super().done()

    futures = [Struck(loop=loop), loop.create_future()]

    async def ask() -> None:
        tell = teller(loop)
        for future in futures:
            tell(future)
        await futures[1]

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(ask())
    for future in futures:
        loop.run_until_complete(asyncio.wait_for(future, 60))


async def told_from_a_thread(loop: Counted) -> None:
    future, tell = loop.create_future(), teller(loop)
    from_a_thread(lambda: tell(future))
    await asyncio.wait_for(future, 60)


def test_at_any_line_of_telling() -> None:
    """Ctrl-C strikes whoever tells; the loop hears of the next one, whoever tells that."""
    number = 0
    while True:
        number += 1
        loop = Counted()

        async def ask(loop: Counted, interrupt: Interrupt) -> None:
            future, tell = loop.create_future(), teller(loop)
            with contextlib.suppress(KeyboardInterrupt), interrupt:
                tell(future)
            await told_from_a_thread(loop)
            tell(future)  # as whoever was struck does
            await asyncio.wait_for(future, 60)

        interrupt = Interrupt(number, only=("tell", "_ring"))
        loop.run_until_complete(ask(loop, interrupt))
        loop.close()
        if not interrupt.hit:
            assert number > 6
            return


def test_a_wake_up_that_is_lost_is_made_up_for(loop: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """RACE lost wake-up: Ctrl-C strikes the loop when it is about to look, and it is run on."""
    monkeypatch.setattr(loops, "_PATIENCE_NS", -1)
    future: asyncio.Future[None] = loop.create_future()

    async def ask() -> None:
        teller(loop)(future)
        await future

    interrupt = Interrupt(1, only=("_settle",))
    with pytest.raises(KeyboardInterrupt), interrupt:
        loop.run_until_complete(ask())
    assert interrupt.hit
    loop.run_until_complete(told_from_a_thread(loop))
    assert future.done()
