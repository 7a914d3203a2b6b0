"""How much of the service one client may take: a number of places for each kind of thing that takes a while. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import attrs

from zmtwist.ops.http.errors import ApiError


@attrs.frozen
class Caller:
    """Who makes a request. `place` stands for them where it is counted what they take, `who` where it is logged.

    `local`: by the UNIX socket. `signed_in`: by the token, a ticket, or as somebody who may connect to that socket.
    """

    place: str
    who: str
    local: bool = False
    signed_in: bool = True


@attrs.define
class Places:
    """Places for things of one kind: `most` of them, `each` for one caller over TCP, the last `kept` for callers by the UNIX socket.

    `refused` counts those that there was no place for.
    """

    code: str
    what: str
    most: int
    each: int
    kept: int
    refused: int = attrs.field(default=0, init=False)
    _taken: Counter[str] = attrs.field(factory=Counter, init=False)

    def __len__(self) -> int:
        return self._taken.total()

    def take(self, caller: Caller) -> Callable[[], None]:
        """One more for this caller; what is given gives it back. Raises ApiError."""
        most = self.most if caller.local else self.most - self.kept
        if len(self) >= most:
            self.refused += 1
            raise ApiError(503, self.code, f"{most} {self.what} at the same time already; close some")
        if not caller.local and self._taken[caller.place] >= self.each:
            self.refused += 1
            raise ApiError(
                429, self.code, f"{self.each} {self.what} at the same time from one address already; close some"
            )
        self._taken[caller.place] += 1
        given = [caller.place]

        def give_back() -> None:
            for place in given:
                self._taken[place] -= 1
                if not self._taken[place]:
                    del self._taken[place]
            given.clear()

        return give_back


@attrs.frozen
class Limits:
    """All of them. Together they are fewer than the connections of one endpoint, so there always is one that can give way to another."""

    requests: Places = attrs.field(factory=lambda: Places("too_many_requests", "requests", 128, 64, 32))
    streams: Places = attrs.field(factory=lambda: Places("too_many_streams", "event streams", 320, 200, 32))
    viewers: Places = attrs.field(factory=lambda: Places("too_many_viewers", "live views", 32, 16, 4))
    files: Places = attrs.field(factory=lambda: Places("too_many_files", "files being sent", 64, 32, 8))
