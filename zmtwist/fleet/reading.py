"""The monitors as the database has them, for a fleet that goes on as it is while that is away."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zmtwist.interfaces import ICatalog
from zmtwist.pipeline.monitor import Monitor

CATALOG_SECONDS = 60.0
"""How long a read of the monitors may take before it counts as failed."""


class Reading:
    """Reads of `catalog`. `error` says why the latest has failed; None where it has not. Said once, not at each read."""

    log = Logger()

    def __init__(self, clock: IReactorTime, catalog: ICatalog) -> None:
        self._clock = clock
        self._catalog = catalog
        self.error: str | None = None
        self._under_way: Deferred[Sequence[Monitor]] | None = None

    def stop(self) -> None:
        """Wait for no answer any more."""
        if self._under_way is not None:
            self._under_way.cancel()

    async def monitors(self) -> Sequence[Monitor] | None:
        """All monitors of this server; None where they can't be read now."""
        try:
            self._under_way = self._catalog.monitors().addTimeout(CATALOG_SECONDS, self._clock)
            monitors: Sequence[Monitor] = await self._under_way
        except CancelledError:
            return None
        except Exception as error:
            if self.error is None:
                self.log.warn("the monitors can't be read, the fleet goes on as it is: {error}", error=str(error))
            self.error = str(error) or type(error).__name__
            return None
        finally:
            self._under_way = None
        if self.error is not None:
            self.log.info("the monitors can be read again")
        self.error = None
        return monitors
