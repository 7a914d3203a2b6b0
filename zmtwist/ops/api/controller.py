"""What an operator may ask and order, answered with plain values: the API without HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

import attrs

from zmtwist._version import __version__
from zmtwist.extras import missing
from zmtwist.fleet.fleet import Fleet, NotInFleet
from zmtwist.fleet.process.adoption import CannotLeave
from zmtwist.fleet.process.state import State
from zmtwist.fleet.status import WorkerStatus
from zmtwist.ingest.session.camera_health import Health
from zmtwist.ops.api.document_views import difference_view, document_view
from zmtwist.ops.api.recovery_views import outcome_view
from zmtwist.ops.api.views import (
    advice_view,
    at,
    extras_view,
    health_view,
    inference_view,
    monitor_view,
    recovery_view,
    storages_view,
    why_view,
    writer_view,
)
from zmtwist.ops.diagnosis import NO_SUCH, absent
from zmtwist.ops.http.errors import ApiError, no_such_monitor, starting
from zmtwist.ops.metrics.counters import Figures
from zmtwist.ops.service_view import Running
from zmtwist.pipeline.document import Document
from zmtwist.reactor.lag import Lag
from zmtwist.untrusted.integers import whole
from zmtwist.zm.db.errors import DatabaseError
from zmtwist.zm.read.event_list import Wish, recent_events

SHOWING = frozenset({State.LINKED, State.LIVE, State.STALLED})
"""The states in which a worker answers at its socket."""


@attrs.frozen
class Desk:
    """Answers questions and takes orders. Raises ApiError; gives values that can become JSON, without secrets.

    `zone` is that of the event rows, None for the host's; `wall` and `started_us` are microseconds since the epoch.
    """

    running: Running
    figures: Figures
    lag: Lag
    wall: Callable[[], int]
    started_us: int
    zone: tzinfo | None = None

    # Questions.

    def status(self) -> dict[str, Any]:
        """The service as a whole."""
        running, fleet, ingest = self.running, self.running.fleet, self.running.ingest
        workers = fleet.status() if fleet is not None else ()
        counts = {state.value: n for state in State if (n := sum(w.state is state for w in workers))}
        trouble = running.waiting_for or (fleet.catalog_error if fleet is not None else None)
        up = fleet is not None and fleet.running
        state = "RUNNING" if up else "STOPPING" if fleet is not None else "STARTING"
        return {
            "state": state,
            "version": __version__,
            "started": at(self.started_us),
            "uptime_seconds": round(max(0, self.wall() - self.started_us) / 1e6, 1),
            "monitors": {
                "total": len(workers),
                "by_state": counts,
                "not_recording": sum(told.not_recording is not None for told in workers),
            },
            "database": {"url": str(running.database.url), "error": trouble},
            "inference": None if fleet is None else inference_view(fleet.inference, self.wall()),
            "ingest": None if ingest is None else writer_view(ingest.writer.figures, ingest.writer.queued),
            "not_installed": extras_view(missing()),
            "recovery": None if running.recovery is None else recovery_view(running.recovery.figures),
            "storages": [] if ingest is None else storages_view(ingest.storages.known),
            "reactor_lag_seconds": {
                "last": round(self.lag.last, 4),
                "longest_of_last_minute": round(self.lag.longest, 4),
            },
        }

    def monitors(self) -> dict[str, Any]:
        """Every monitor on zm-next, and those that are not, with the reason."""
        fleet, names = self._fleet(), self.running.names
        workers = fleet.status()
        here = {told.monitor_id for told in workers}
        return {
            "monitors": [self._view(told) for told in workers],
            "elsewhere": [
                {"id": monitor_id, "name": names.get(monitor_id, ""), "reason": reason}
                for monitor_id, reason in sorted(fleet.unwanted.items())
                if monitor_id not in here
            ],
        }

    def monitor(self, monitor_id: int) -> dict[str, Any]:
        """One monitor, with its last log lines, and what its worker says of the camera."""
        shown = self._view(self._status(monitor_id), lines=True)
        return {**shown, "health": health_view(self._health(monitor_id))}

    def why(self, monitor_id: int) -> dict[str, Any]:
        """What is wrong with it and what to do, also for one that does not run on zm-next."""
        fleet = self._fleet()
        name = self.running.names.get(monitor_id, "")
        ingest = self.running.ingest
        for told in fleet.status():
            if told.monitor_id == monitor_id:
                storage = None if ingest is None else ingest.storages.trouble_of(monitor_id)
                held = self.running.budgets.recently_held(monitor_id)
                wanted, _ = self._documents(monitor_id)
                warnings = () if wanted is None else wanted.warnings
                return why_view(told, name, self.wall(), storage, self._health(monitor_id), held, warnings)
        reason = fleet.unwanted.get(monitor_id, NO_SUCH)
        if reason == NO_SUCH:
            raise no_such_monitor(monitor_id)
        return advice_view(monitor_id, name, None, absent(reason))

    async def pipeline(self, monitor_id: int, *, diff: bool) -> dict[str, Any]:
        """Its document, redacted; or with `diff` what the database asks for now against what runs."""
        wanted, running = self._documents(monitor_id)
        if not diff:
            if wanted is None:
                raise ApiError(409, "no_document", f"monitor {monitor_id} has none: {self._status(monitor_id).reason}")
            return document_view(wanted, running)
        coming = await self.running.preview(monitor_id)
        if coming is None:
            raise no_such_monitor(monitor_id)
        told = self._status(monitor_id)
        return difference_view(
            monitor_id, running, coming, adopted_digest=told.digest if told.pid is not None else None
        )

    async def events(self, monitor_id: int | None, since: str | None, limit: int) -> dict[str, Any]:
        """Events as they stand in the database, newest first. `since` is an event's id (later ones only) or a local date and time."""
        wish = Wish(monitor_id=monitor_id, limit=limit, **_since(since, self.zone))
        found = await self.running.database.interact(recent_events, wish)
        return {"events": [attrs.asdict(event) for event in found]}

    def see_that_it_runs(self, monitor_id: int) -> None:
        """Raises ApiError for a monitor whose worker gives no picture now."""
        told = self._status(monitor_id)
        if told.state not in SHOWING:
            reason = f"it is {told.state.value}: {told.reason}"
            raise ApiError(503, "no_picture", f"no live view of monitor {monitor_id}: {reason}")

    # Orders.

    async def order(self, verb: str, monitor_id: int) -> dict[str, Any]:
        """One of `ORDERS`; gives the monitor as it is afterwards."""
        fleet = self._fleet()
        try:
            if verb == "reload":
                await fleet.reload(monitor_id)
                self._database_answers(fleet)
            else:
                getattr(fleet, verb)(monitor_id)
        except NotInFleet as error:
            raise self._absent(error) from None
        return self._view(self._status(monitor_id))

    async def reconcile(self) -> dict[str, Any]:
        """Read the database and make the fleet what it asks for, now."""
        fleet = self._fleet()
        await fleet.reconcile()
        self._database_answers(fleet)
        return {"monitors": len(fleet.status())}

    async def recover(self, days_back: int, *, dry_run: bool, force: bool) -> dict[str, Any]:
        """Bring rows and clips together; see `recovery.service`."""
        recovery = self.running.recovery
        self._fleet()
        if recovery is None:
            raise starting()
        try:
            outcome = await recovery.recover(days_back=days_back, dry_run=dry_run, force=force)
        except OSError as error:
            raise ApiError(503, "storage_away", f"{error.filename}: {error.strerror}") from None
        return outcome_view(outcome)

    async def hand_off(self) -> dict[str, Any]:
        """See `Running.handoff`."""
        workers = sum(told.pid is not None for told in self._fleet().status())
        try:
            await self.running.handoff()
        except CannotLeave as error:
            raise ApiError(409, "cannot_leave", error.reason) from None
        return {"workers": workers}

    # Small parts.

    def _health(self, monitor_id: int) -> Health | None:
        ingest = self.running.ingest
        return None if ingest is None else ingest.health.get(monitor_id)

    def _view(self, told: WorkerStatus, *, lines: bool = False) -> dict[str, Any]:
        name = self.running.names.get(told.monitor_id, "")
        shown = monitor_view(told, name, self.figures.of(told.monitor_id), self.wall(), lines=lines)
        ingest = self.running.ingest
        shown["queued_changes"] = 0 if ingest is None else ingest.writer.queued_of(told.monitor_id)
        return shown

    def _fleet(self) -> Fleet:
        fleet = self.running.fleet
        if fleet is None or not fleet.running:
            raise starting()
        return fleet

    def _status(self, monitor_id: int) -> WorkerStatus:
        fleet = self._fleet()
        for told in fleet.status():
            if told.monitor_id == monitor_id:
                return told
        raise self._absent(NotInFleet(monitor_id, fleet.unwanted.get(monitor_id, NO_SUCH)))

    def _documents(self, monitor_id: int) -> tuple[Document | None, Document | None]:
        try:
            return self._fleet().documents(monitor_id)
        except NotInFleet as error:
            raise self._absent(error) from None

    def _absent(self, error: NotInFleet) -> ApiError:
        if error.reason == NO_SUCH:
            return no_such_monitor(error.monitor_id)
        return ApiError(409, "not_on_zm_next", str(error))

    def _database_answers(self, fleet: Fleet) -> None:
        if fleet.catalog_error is not None:
            raise ApiError(503, "database_away", f"the monitors can't be read: {fleet.catalog_error}")


def unavailable(error: DatabaseError) -> ApiError:
    """503 for a database that did not answer a question."""
    return ApiError(503, "database_away", str(error))


def _since(text: str | None, zone: tzinfo | None) -> dict[str, Any]:
    if text is None:
        return {}
    event_id = whole(text)
    if event_id is not None:
        return {"after_id": event_id}
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(zone).replace(tzinfo=None)
    except (ValueError, OverflowError):  # no date, or one that falls out of the calendar in our time zone
        raise ApiError(
            400, "bad_request", "since: must be an event's id, or a date and time such as 2026-03-29T14:00:00"
        ) from None
    return {"since": moment}
