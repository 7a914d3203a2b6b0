"""Documents for the fleet: composed so that nothing which goes wrong there harms it, and with each warning said once."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from zmtwist.pipeline.document import Document, Refusal
from zmtwist.pipeline.monitor import Monitor


class Composing:
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
