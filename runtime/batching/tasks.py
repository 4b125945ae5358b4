"""A batched call from a task of asyncio, without blocking the loop."""

from __future__ import annotations

import asyncio
import functools

from isopod.ipc.errors import ArenaFull
from isopod.runtime.batching.batcher import Batcher
from isopod.runtime.calls import Call
from isopod.runtime.loops import teller
from isopod.runtime.request import Request


async def answered(batcher: Batcher, request: Request, loop: asyncio.AbstractEventLoop) -> Call:
    """The call with its outcome. Its rows are written right here, or in a thread where that must wait for memory.

    Cancelling the task takes it out of a batch that is not sent yet; else its part of the answer is dropped.
    """
    future: asyncio.Future[None] = loop.create_future()
    tell = teller(loop)
    join = functools.partial(batcher.join, request, lambda _: tell(future), threaded=False)
    try:
        member = join(room_by_ns=0)
    except ArenaFull:
        member = await loop.run_in_executor(None, functools.partial(join, room_by_ns=request.room_by))
    try:
        await future
    except BaseException:  # goes on to the task: it was cancelled, or its loop ends
        batcher.abandon(member)
        raise
    return member
