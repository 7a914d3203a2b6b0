"""What the reconciler starts from: the monitors as the database has them, and a document for each. Failures of either harm no worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zmtwist.interfaces import ICatalog
from zmtwist.pipeline.document import Document, Refusal
from zmtwist.pipeline.monitor import Monitor


class DocumentComposer:
    """`compose` turns a monitor into its document or a refusal."""

    log = Logger()

    def __init__(self, compose: Callable[[Monitor], Document | Refusal]) -> None:
        self._compose = compose
        self._warned: dict[int, str] = {}

    def of(self, monitor: Monitor) -> Document | Refusal:
        """Its document, or why there is none. Never raises."""
        try:
            return self._compose(monitor)
        except Exception:
            self.log.failure("monitor {monitor_id}: composing its document failed", monitor_id=monitor.id)
            return Refusal(monitor.id, "an internal error while composing its document; see the log")

    def warn(self, composed: Document | Refusal) -> None:
        """Log what the operator should know of it, once for each new document or refusal, not at each reconcile."""
        warnings: tuple[str, ...]
        if isinstance(composed, Refusal):
            occasion, warnings = composed.reason, (f"refused: {composed.reason}",)
        else:
            occasion, warnings = composed.digest, composed.warnings
        if self._warned.get(composed.monitor_id) == occasion:
            return
        self._warned[composed.monitor_id] = occasion
        for warning in warnings:
            self.log.warn("monitor {monitor_id}: {warning}", monitor_id=composed.monitor_id, warning=warning)

    def forget(self, monitor_id: int) -> None:
        """It is gone: should it come back, its warnings are news again."""
        self._warned.pop(monitor_id, None)


CATALOG_SECONDS = 60.0
"""How long a read of the monitors may take before it counts as failed."""


class MonitorReader:
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
