"""Looks at the places for recordings, from threads: a storage that hangs must stop neither the reactor nor the cameras of others."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from zmtwist.fleet.launch import check_store_root
from zmtwist.fleet.process import CannotSpawn

LOOK_SECONDS = 5.0
"""How long a storage may take to answer."""

OnDisk = Callable[[Callable[[], None]], Deferred[None]]
"""Runs a function on a thread that may hang for as long as it likes, and says when it is over."""


@attrs.frozen
class _Look:
    """A look that is under way: till when it is waited for, and by whom."""

    until: float
    waiting: list[Deferred[None]] = attrs.field(factory=list)


class Storages:
    """One look at a time at each of them: what hangs holds one thread, however many workers ask for it and however often."""

    def __init__(self, clock: IReactorTime, on_disk: OnDisk) -> None:
        self._clock = clock
        self._on_disk = on_disk
        self._under_way: dict[str, _Look] = {}

    def look(self, root: str | None) -> Deferred[None]:
        """Fires when clips can be written below `root`, or are not to be written at all. Fails with CannotSpawn."""
        if not root:
            return succeed(None)
        now, look, answer = self._clock.seconds(), self._under_way.get(root), Deferred[None]()
        if look is not None:
            if look.until <= now:
                return fail(_hangs(root))
            look.waiting.append(answer)
        else:
            look = self._under_way[root] = _Look(now + LOOK_SECONDS, [answer])
            self._on_disk(lambda: check_store_root(root)).addBoth(self._over, root)

        def hangs(_result: object, _seconds: float) -> None:
            raise _hangs(root)

        return answer.addTimeout(look.until - now, self._clock, hangs)

    def _over(self, found: Failure | None, root: str) -> None:
        if isinstance(found, Failure) and isinstance(error := found.value, OSError):
            found = Failure(CannotSpawn(f"the storage {root} can't be looked at: {error.strerror or error}"))
        for answer in self._under_way.pop(root).waiting:
            if isinstance(found, Failure):
                answer.errback(found)
            else:
                answer.callback(None)


def _hangs(root: str) -> CannotSpawn:
    return CannotSpawn(f"the storage {root} does not answer: is its server or disk gone?")
