"""What one monitor may have of what all share: a budget of several kinds, each refilled by time, and counts of what was held back.

A worker passes on what a camera sends, so the amount of what it says is the camera's choice. What is over budget is left out and counted,
and no other monitor waits for it. Pure: times come in, as seconds of one clock that never goes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum

import attrs

RECENT_SECONDS = 600.0
"""What was held back within so long a time is of interest to whoever asks what is wrong with a monitor."""


def _always() -> bool:
    return True


@attrs.frozen
class Allowance:
    """How much may still be had of one kind: `burst` at once, `per_second` in the long run.

    The first `assured` of a burst are had whatever others do. `refused` counts the askings in vain since the last that was granted.
    """

    per_second: float = 20.0
    burst: float = 200.0
    left: float = 200.0
    at: float = 0.0
    refused: int = 0
    assured: float = 20.0

    @classmethod
    def full(cls, per_second: float, burst: float, assured: float = float("inf")) -> Allowance:
        """One of which nothing is spent."""
        return cls(per_second, burst, burst, assured=assured)

    def take(
        self, now: float, spare: Callable[[], bool] = _always, *, cost: float = 1.0
    ) -> tuple[Allowance, bool, int]:
        """Ask for `cost`: what is left, whether it may be had, and how many asked in vain before it since the last that was granted.

        Beyond `assured`, `spare` has to grant it too. As long as one is left, a `cost` that is higher is granted as well, and the next has
        to wait the longer.
        """
        left = self.left_at(now)
        if left < 1.0 or (left <= self.burst - self.assured and not spare()):
            return attrs.evolve(self, left=left, at=now, refused=self.refused + 1), False, 0
        return attrs.evolve(self, left=left - cost, at=now, refused=0), True, self.refused

    def left_at(self, now: float) -> float:
        """How much may be had at this time; below 0 where more was spent than there was."""
        return min(self.burst, self.left + max(0.0, now - self.at) * self.per_second)


class Kind(StrEnum):
    """What a monitor has a budget of."""

    OPENINGS = "openings"
    """Events that begin."""
    ROWS = "rows"
    """What is written of events that have begun: frames, data, notes."""
    LABELS = "labels"
    """Tags of events."""
    LINES = "lines"
    """Log lines."""
    BYTES = "bytes"
    """Text that has to be kept in memory, or on disk, until it is written."""


LIMITS: Mapping[Kind, Allowance] = {
    Kind.OPENINGS: Allowance.full(3.0, 120.0),
    Kind.ROWS: Allowance.full(250.0, 4_000.0),
    Kind.LABELS: Allowance.full(4.0, 400.0),
    Kind.LINES: Allowance.full(20.0, 200.0, assured=20.0),
    Kind.BYTES: Allowance.full(64_000.0, 4_000_000.0),
}
"""Several times what the busiest camera needs: 30 alarm frames a second, a clip every few seconds, a dozen labels in each."""

UNLIMITED: Mapping[Kind, Allowance] = {kind: Allowance.full(0.0, float("inf")) for kind in Kind}
"""For measurements: what could be done."""


@attrs.define
class Budget:
    """One monitor's. `held` counts what was held back, by kind, since the service was started."""

    left: dict[Kind, Allowance] = attrs.field(factory=lambda: dict(LIMITS))
    held: Counter[Kind] = attrs.field(factory=Counter, init=False)
    _held_at: dict[Kind, float] = attrs.field(factory=dict, init=False)
    _untold: Counter[Kind] = attrs.field(factory=Counter, init=False)

    def take(self, kind: Kind, now: float, *, cost: float = 1.0, spare: Callable[[], bool] = _always) -> bool:
        """Whether `cost` of a kind may be had, as `Allowance.take` has it; what may not is counted, as one."""
        self.left[kind], granted, _ = self.left[kind].take(now, spare, cost=cost)
        if not granted:
            self.hold(kind, now)
        return granted

    def spend(self, kind: Kind, now: float, cost: float) -> None:
        """Of what has already been done, the cost is known only now: the next has to wait for it."""
        self.left[kind] = attrs.evolve(self.left[kind], left=self.left[kind].left_at(now) - cost, at=now)

    def hold(self, kind: Kind, now: float, number: int = 1) -> None:
        """Count what is held back."""
        self.held[kind] += number
        self._untold[kind] += number
        self._held_at[kind] = now

    def untold(self, kind: Kind) -> int:
        """How many were held back since this was asked last."""
        return self._untold.pop(kind, 0)

    def recently(self, now: float) -> Mapping[str, int]:
        """What was held back by kind, of those kinds of which some was lately."""
        return {kind.value: self.held[kind] for kind, at in self._held_at.items() if now - at < RECENT_SECONDS}


@attrs.define
class Budgets:
    """Those of all monitors. `seconds` tells the time."""

    seconds: Callable[[], float]
    limits: Mapping[Kind, Allowance] = attrs.field(default=LIMITS)
    _budgets: dict[int, Budget] = attrs.field(factory=dict, init=False)

    def of(self, monitor_id: int) -> Budget:
        """The budget of this monitor."""
        if (budget := self._budgets.get(monitor_id)) is None:
            budget = self._budgets[monitor_id] = Budget(dict(self.limits))
        return budget

    def recently_held(self, monitor_id: int) -> Mapping[str, int]:
        """What of this monitor was held back by kind, of those kinds of which some was lately."""
        return self.of(monitor_id).recently(self.seconds())


class Together:
    """What all monitors may have between them beyond what each is assured of: an outage makes hundreds of workers talk at the same moment,
    and to log all that would hold up everything else.
    """

    def __init__(self, per_second: float = 200.0, burst: float = 1_000.0) -> None:
        self._allowance = Allowance.full(per_second, burst)

    def take(self, now: float) -> bool:
        """Ask for one."""
        self._allowance, allowed, _ = self._allowance.take(now)
        return allowed
