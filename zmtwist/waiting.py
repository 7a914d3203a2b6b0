"""Waiting for work that others wait for too: a Deferred's result belongs to one chain, so each waiter gets a Deferred of its own."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
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
