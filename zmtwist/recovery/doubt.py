"""Whether so much in a storage is wrong that it can't be believed: the wrong disk may be mounted, or one monitor's files be spoiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import attrs

from zmtwist.recovery.actions import Action, LeaveOpen, monitor_of

HANDFUL = 5
"""Fewer wrong ones than this are never doubted."""


@attrs.define
class Doubt:
    """How many things of one kind were looked at in a storage, and how many were wrong, by monitor. `what` says what is wrong with them."""

    what: str
    _looked: Counter[int] = attrs.field(factory=Counter, init=False)
    _wrong: Counter[int] = attrs.field(factory=Counter, init=False)

    def looked(self, monitors: Iterable[int]) -> None:
        """So many more were looked at: the monitor of each."""
        self._looked.update(monitors)

    def wrong(self, monitor_id: int) -> None:
        """One of them is wrong."""
        self._wrong[monitor_id] += 1

    def of(self, root: str) -> tuple[str, int | None] | None:
        """Why nothing is to be done in this storage, and about which monitor; None for all of them. None where there is no such reason.

        It is one monitor's own where more than half of all is wrong, but not of what is the others': what its worker left says nothing
        about theirs.
        """
        looked, wrong = self._looked.total(), self._wrong.total()
        if wrong < HANDFUL or 2 * wrong <= looked:
            return None
        ((worst, its),) = self._wrong.most_common(1)
        others = looked - self._looked[worst]
        if others and 2 * (wrong - its) <= others:
            held = self._looked[worst]
            why = (
                f"storage {root}: {its} of {held} {self.what} of monitor {worst}. Nothing was done about that monitor's"
            )
            return why, worst
        why = f"storage {root}: {wrong} of {looked} {self.what}: is the right one mounted? Nothing was done about it"
        return why, None


def doubted(root: str, *doubts: Doubt) -> list[tuple[str, int | None]]:
    """What there is against doing anything in this storage (`Doubt.of`)."""
    return [one for doubt in doubts if (one := doubt.of(root)) is not None]


def believed(actions: Sequence[Action], doubts: Sequence[tuple[str, int | None]]) -> list[Action]:
    """Those of the actions that nothing speaks against. What workers may be recording is theirs, whatever lies there."""
    alone = {monitor_id for _, monitor_id in doubts}
    return [one for one in actions if isinstance(one, LeaveOpen) or not alone & {None, monitor_of(one)}]
