"""Taking cameras from ZoneMinder's capture daemon, decided without doing it: what a look at the daemons means for one monitor.

Plain functions of immutable values. Times are seconds of one clock, only ever compared.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from zmtwist.fleet.zmc.zmdc import Condition, Daemon, Listing

STOP_AGAIN_SECONDS = 5.0
"""A stop is said again after this. One that comes right after a start is lost: zmdc's SIGTERM then meets a process that is not zmc yet."""

RETAKE_SECONDS = 60.0
RETAKE_MOST_SECONDS = 900.0
"""A daemon that comes back is stopped at once, then once a minute at most, then ever less often: a quarrel must not wear out the host."""

QUIET_SECONDS = 3600.0
"""After this without its coming back, earlier returns are forgotten."""


class Stage(enum.Enum):
    """How far a monitor's hand-over is. One that has none is ZoneMinder's."""

    TAKING = "taking"
    """Its capture daemon is being stopped; no worker is started yet."""
    OURS = "ours"
    """Its capture daemon was seen to be gone."""
    RETURNING = "returning"
    """Its worker is gone; ZoneMinder gets it back."""


class Act(enum.Enum):
    """What is to be done now."""

    NOTHING = "nothing"
    STOP = "stop"
    """Tell zmdc to stop the capture daemon."""
    READY = "ready"
    """The worker may be started."""


@attrs.frozen
class Case:
    """One monitor's hand-over. `words`: its capture daemon and the arguments of that.

    `stopped_at`: when zmdc was last told to stop it. `seen`: it was there at the last look, as process `pid`. `returns`: how often it
    has come back. `stops`: how often it was taken away again. `trouble`: why there is no getting on.
    """

    stage: Stage
    since: float
    words: tuple[str, ...] = ()
    pid: int | None = None
    stopped_at: float | None = None
    seen: bool = False
    returns: int = 0
    returned_at: float = 0.0
    stops: int = 0
    trouble: str = ""

    @property
    def key(self) -> str:
        """Its capture daemon as zmdc lists it: `zmc -m 3`."""
        return " ".join(self.words)


@attrs.frozen
class Look:
    """One look at all capture daemons.

    `listed`: zmdc's own list, None where it gave none. `living`: the kernel's, pid by key. `absent`: nobody listens at zmdc's socket,
    so ZoneMinder is not running. `trouble`: why else zmdc could not be asked.
    """

    listed: Listing | None = None
    living: Mapping[str, int] = attrs.field(factory=dict)
    absent: bool = False
    trouble: str = ""

    @property
    def answers(self) -> bool:
        """Whether there is someone who can be told to stop or start a daemon."""
        return not self.absent and not self.trouble

    def before_start(self, key: str) -> Daemon | None:
        """The capture daemon if anything says that it is there: zm-api calls one stopped that is still ending."""
        told = self.listed.of(key) if self.listed is not None else None
        if told is not None and told.condition is not Condition.STOPPED:
            return told
        return Daemon(Condition.RUNNING, self.living[key]) if key in self.living else None

    def afterwards(self, key: str) -> Daemon | None:
        """The capture daemon if ZoneMinder keeps it; where that can't be known, if it lives."""
        if self.listed is None:
            return self.before_start(key)
        told = self.listed.of(key)
        return told if told.condition is not Condition.STOPPED else None


def taking(case: Case, look: Look, now: float) -> tuple[Case, Act]:
    """Go on with a monitor that is being taken: nothing is started before its capture daemon is seen to be gone."""
    found = look.before_start(case.key)
    if found is None:
        return Case(Stage.OURS, now, case.words), Act.READY
    who = _who(case.key, found)
    if not look.answers:
        why = "ZoneMinder is not running, so nobody can be asked to stop it: end it" if look.absent else look.trouble
        return attrs.evolve(case, trouble=f"{who} captures this camera. {why}"), Act.NOTHING
    if case.stopped_at is not None and 0 <= now - case.stopped_at < STOP_AGAIN_SECONDS:
        return case, Act.NOTHING
    return attrs.evolve(case, stopped_at=now, trouble=f"{who} is being stopped first"), Act.STOP


def ours(case: Case, look: Look, now: float) -> tuple[Case, Act]:
    """Watch over a monitor that was taken: a capture daemon that comes back is taken away again, at a bounded rate."""
    found = look.afterwards(case.key)
    if found is None:
        forget = case.returns > 0 and now - case.returned_at > QUIET_SECONDS
        return (
            Case(Stage.OURS, case.since, case.words) if forget else attrs.evolve(case, seen=False, trouble=look.trouble)
        ), Act.NOTHING
    case = attrs.evolve(case, trouble=look.trouble)
    if not case.seen or (found.pid is not None and found.pid != case.pid):
        case = attrs.evolve(case, seen=True, pid=found.pid, returns=case.returns + 1, returned_at=now)
    if look.answers and (case.stopped_at is None or not 0 <= now - case.stopped_at < retake_interval(case.stops)):
        return attrs.evolve(case, stopped_at=now, stops=case.stops + 1), Act.STOP
    return case, Act.NOTHING


def retake_interval(stops: int) -> float:
    """Seconds from the `stops`-th time that a daemon was taken away again to the next such time at the earliest."""
    return min(RETAKE_SECONDS * float(2 ** min(max(stops - 1, 0), 10)), RETAKE_MOST_SECONDS)


def advice(case: Case, column: str, value: str | None, set_none: bool) -> str:
    """What the operator of a monitor that is ours should know: that its capture daemon comes back, and how to end that; or ''.

    `column` and `value`: the setting by which this ZoneMinder decides whether it captures.
    """
    if not case.returns:
        return case.trouble
    how_often = "once" if case.returns == 1 else f"{case.returns} times"
    told = f"ZoneMinder has started its own capture of this camera again ({how_often}); it is stopped again, at most once a minute."
    if value == "None":
        told = f"{told} Monitors.{column} is None, so this was done by hand or by a run state."
    elif set_none:
        told = f"{told} Monitors.{column} was set to {value} by someone, and is set to None again."
    else:
        told = (
            f"{told} zmwatch does that while Monitors.{column} is not None: set it to None for this monitor, "
            "or let zmtwist do so with [legacy] set_none = true."
        )
    return f"{told} {case.trouble}".rstrip()


def _who(key: str, found: Daemon) -> str:
    if found.condition is Condition.PENDING:
        return f"ZoneMinder's '{key}' (crashed, about to be started again)"
    return f"ZoneMinder's '{key}'" if found.pid is None else f"ZoneMinder's '{key}' (process {found.pid})"
