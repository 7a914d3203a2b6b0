"""Waiting for work that others wait for too: a Deferred's result belongs to one chain, so each waiter gets a Deferred of its own."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

T = TypeVar("T")


def ended(work: Deferred[T]) -> Deferred[None]:
    """Fires with None once `work` has ended, however it did; leaves its result or failure to its own chain."""
    waiter: Deferred[None] = Deferred()

    def pass_on(result: T | Failure) -> T | Failure:
        if not waiter.called:
            waiter.callback(None)
        return result

    work.addBoth(pass_on)
    return waiter


async def given_up(work: Deferred[Any]) -> None:
    """Cancel `work`, and wait until it has ended."""
    over = ended(work)
    work.cancel()
    await over


async def all_ended(clock: IReactorTime, under_way: Collection[Deferred[Any]], seconds: float) -> bool:
    """Wait, at most `seconds`, until `under_way` is empty, which each work leaves as it ends; says whether that came about."""
    if not under_way:
        return True
    done: Deferred[Any] = DeferredList([ended(work) for work in under_way], consumeErrors=True)
    timeout = clock.callLater(seconds, done.cancel)
    with suppress(Exception):
        await done
    if timeout.active():
        timeout.cancel()
    await deferLater(clock, 0)  # whoever waits for the work itself hears of it before the waiter goes on
    return not under_way
