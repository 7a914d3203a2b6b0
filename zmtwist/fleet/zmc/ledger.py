"""Which monitors were taken from ZoneMinder and what their capture setting was: in memory, on disk and in the database, kept in step.

What is to be restored one day is on disk before the database is changed, and goes from there only after it was restored. The file is
small JSON, replaced as a whole, so that a crash leaves the old one or the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import attrs
import msgspec
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zmtwist.durable import durable_write
from zmtwist.pipeline.monitor import Monitor
from zmtwist.zm.db.errors import DatabaseError
from zmtwist.zm.write.capture_setting import CaptureChange, CaptureColumn

DATABASE_SECONDS = 30.0
"""How long a write may take before it counts as failed; it is made again at the next round."""

T = TypeVar("T")


class InThread(Protocol):
    """Runs a function where it may block."""

    def __call__(self, function: Callable[[], T], /) -> Deferred[T]:
        """Its result."""


class Switch(Protocol):
    """What is needed here of `zm.write.capture_setting.CaptureSwitch`."""

    def write(self, changes: Sequence[CaptureChange], /) -> Deferred[None]:
        """Make these changes, all or none."""


def setting(monitor: Monitor) -> tuple[CaptureColumn, str | None]:
    """What decides whether this ZoneMinder captures it, and the value of that: 'None' where it does not."""
    if monitor.capturing is not None:
        return "Capturing", monitor.capturing
    return "Function", monitor.function


def captures(monitor: Monitor) -> bool:
    """Whether ZoneMinder is set to capture it."""
    return not monitor.deleted and setting(monitor)[1] not in (None, "None")


def with_setting(monitor: Monitor, column: CaptureColumn, value: str) -> Monitor:
    """The monitor with another capture setting."""
    if column == "Capturing":
        return attrs.evolve(monitor, capturing=value)
    return attrs.evolve(monitor, function=value)


class Ledger:
    """The kept file under `state` and the capture settings. With `set_none`, that of a monitor which is ours is made None.

    `rows` are the monitors as last read, with what was written since.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, switch: Switch, state: str, in_thread: InThread, *, set_none: bool) -> None:
        self._clock = clock
        self._switch = switch
        self._path = Path(state) / FILE
        self._in_thread = in_thread
        self.set_none = set_none
        self.rows: Mapping[int, Monitor] = {}
        self._kept: dict[int, Kept] = {}
        self._done: set[int] = set()
        self._trouble = ""

    def load(self) -> None:
        """Know again what an earlier run wrote down. A file that makes no sense is put aside, and said."""
        try:
            self._kept = load(self._path)
        except Unkept as error:
            self.log.error(
                "it is not known which monitors were taken from ZoneMinder: {error}. Where zmtwist has set Monitors.Capturing "
                "(1.36: Function) to None, set it back by hand",
                error=str(error),
            )
            self._put_aside()

    @property
    def taken(self) -> Collection[int]:
        """The monitors that were taken and not given back, by this run or an earlier one."""
        return self._kept.keys() - self._done

    def as_meant(self, monitor: Monitor) -> Monitor:
        """With the setting that it had before we set it to None, if it still is None because of us."""
        kept = self._kept.get(monitor.id, Kept())
        if kept.column is None or kept.previous is None or setting(monitor) != (kept.column, "None"):
            return monitor
        return with_setting(monitor, kept.column, kept.previous)

    def restored(self, monitor_id: int) -> bool:
        """Whether its setting is its own again."""
        kept = self._kept.get(monitor_id)
        return kept is None or kept.previous is None

    def switched_on(self, ours: Collection[int]) -> Sequence[CaptureChange]:
        """Those of `ours` that ZoneMinder is set to capture, where that has to become None: the newest setting is what was meant."""
        found = []
        for monitor_id in ours if self.set_none else ():
            row = self.rows.get(monitor_id)
            if row is not None and captures(row):
                column, value = setting(row)
                found.append(CaptureChange(monitor_id, column, value or "None", "None"))
        return found

    async def settle(self, ours: Collection[int], returning: Collection[int]) -> None:
        """Write down what is ours, make those settings None where that is wanted, restore those of what returns. Never raises on failure.

        What fails is said once, and done at the next call.
        """
        off, back = self.switched_on(ours), self._to_restore(returning)
        noted = {monitor_id: self._kept.get(monitor_id, Kept()) for monitor_id in ours}
        previous = {change.monitor_id: Kept(change.column, change.before) for change in off}
        self._done.difference_update(ours)
        if not await self._save({**self._kept, **noted, **previous}):
            off = ()  # what is not written down can't be restored
        if not (off or back):
            return
        try:
            await self._switch.write([*off, *back]).addTimeout(DATABASE_SECONDS, self._clock)
        except (DatabaseError, defer.TimeoutError) as error:
            self._say(f"the capture settings of monitors can't be written: {str(error) or 'no answer'}")
            return
        self.rows = {**self.rows, **self._written([*off, *back])}
        await self._save({**self._kept, **{change.monitor_id: Kept() for change in back}})

    def forget(self, monitor_id: int) -> None:
        """It was given back; `tidy` takes it out of the file."""
        self._done.add(monitor_id)

    async def tidy(self) -> None:
        """Forget on disk too. If that fails, or we do not get there, it is given back once more, which does no harm."""
        if self._done and await self._save({n: kept for n, kept in self._kept.items() if n not in self._done}):
            self._done.difference_update([n for n in self._done if n not in self._kept])

    def _to_restore(self, returning: Collection[int]) -> Sequence[CaptureChange]:
        """What goes back, and all where `set_none` is off by now."""
        return [
            CaptureChange(monitor_id, kept.column, "None", kept.previous)
            for monitor_id, kept in self._kept.items()
            if kept.column and kept.previous and (monitor_id in returning or not self.set_none)
        ]

    def _written(self, changes: Sequence[CaptureChange]) -> dict[int, Monitor]:
        """The rows as these changes have made them."""
        found = {}
        for change in changes:
            row = self.rows.get(change.monitor_id)
            if row is not None and setting(row) == (change.column, change.before):
                found[change.monitor_id] = with_setting(row, change.column, change.after)
        return found

    async def _save(self, kept: dict[int, Kept]) -> bool:
        """Whether this is on disk now."""
        if kept != self._kept:
            try:
                await self._in_thread(lambda: save(self._path, kept))
            except Unkept as error:
                self._say(f"what was taken from ZoneMinder can't be written down: {error}")
                return False
            self._kept = kept
        return True

    def _put_aside(self) -> None:
        try:
            self._path.replace(self._path.with_suffix(".bad"))
        except OSError as error:
            self.log.error("{path} can't be put aside: {error}", path=str(self._path), error=error.strerror)

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self.log.error("{trouble}; it is tried again", trouble=trouble)


FILE = "legacy.json"


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """One monitor that was taken. `previous`: what `column` held before we set it to None; both None where we have not."""

    column: CaptureColumn | None = None
    previous: str | None = None


class _File(msgspec.Struct):
    monitors: dict[int, Kept]


class Unkept(Exception):
    """The file can't be read or written; the text says which, and why."""


def load(path: Path) -> dict[int, Kept]:
    """What was kept, by monitor id; nothing where there is no file yet. Raises Unkept."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File, strict=False).monitors
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Unkept(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unkept(f"{path} makes no sense: {error}") from error


def save(path: Path, kept: Mapping[int, Kept]) -> None:
    """Replace the file; on return it is on disk for good. Raises Unkept."""
    text = msgspec.json.format(msgspec.json.encode(_File(dict(sorted(kept.items())))))
    try:
        durable_write(path, text + b"\n")
    except OSError as error:
        raise Unkept(f"cannot write {path}: {error.strerror}") from error
