"""The service, as what serves operators sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from twisted.internet.defer import Deferred

from zmtwist.fleet.fleet import Fleet
from zmtwist.ingest.service import Ingest
from zmtwist.pipeline.document import Document, Refusal
from zmtwist.recovery.service import RecoveryService
from zmtwist.untrusted.budget import Budgets
from zmtwist.zm.db.pool import Database


class Running(Protocol):
    """The service, as far as operators are concerned. `fleet` and `ingest` are None until the database has answered."""

    @property
    def fleet(self) -> Fleet | None:
        """Which workers run."""

    @property
    def ingest(self) -> Ingest | None:
        """What becomes of what they say."""

    @property
    def recovery(self) -> RecoveryService | None:
        """What brings rows and clips together; None until the database has answered."""

    @property
    def database(self) -> Database:
        """ZoneMinder's."""

    @property
    def budgets(self) -> Budgets:
        """What each monitor may have of what all share, and what of its worker's was held back."""

    @property
    def names(self) -> Mapping[int, str]:
        """The monitors' names, as last read."""

    @property
    def waiting_for(self) -> str | None:
        """What keeps the service from starting, if anything does."""

    def preview(self, monitor_id: int) -> Deferred[Document | Refusal | None]:
        """What the database asks for now, whether or not it is put into effect; None for no such monitor."""

    def handoff(self) -> Deferred[None]:
        """End, and leave the workers recording for the next run of the service. Fires once that is under way."""
