"""The workers there are, by monitor: made, taken on from an earlier run, ended together, and forgotten when they are done."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from twisted.internet.defer import Deferred

from zmtwist.fleet.holds import Holds
from zmtwist.fleet.process.adoption import Survivor
from zmtwist.fleet.process.instance import Surroundings
from zmtwist.fleet.process.state import IDLE
from zmtwist.fleet.worker import Worker


class Roster(Mapping[int, Worker]):
    """Workers of which each has one monitor. One that an operator holds comes here held."""

    def __init__(self, around: Surroundings, held: Holds) -> None:
        self._around = around
        self._held = held
        self._workers: dict[int, Worker] = {}

    def __getitem__(self, monitor_id: int) -> Worker:
        return self._workers[monitor_id]

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._workers))

    def __len__(self) -> int:
        return len(self._workers)

    def of(self, monitor_id: int) -> Worker:
        """This monitor's worker, made where there is none yet."""
        worker = self._workers.get(monitor_id)
        return worker if worker is not None else self._add(monitor_id, Worker(monitor_id, self._around))

    def adopt(self, survivors: Mapping[int, Survivor]) -> None:
        """Take on those that outlived our last run; one that must end with us, and was not started so, is started anew soon."""
        survive = self._around.settings.zmnext.worker.survive_restart
        for monitor_id, survivor in survivors.items():
            worker = Worker(monitor_id, self._around)
            if not worker.adopt(survivor):
                continue
            self._add(monitor_id, worker)
            if not survive and monitor_id not in self._held:
                worker.restart_soon("survive_restart is false: it must be one that ends with this service")

    def stop(self, reason: str) -> list[Deferred[None]]:
        """Stop all at once; each fires when its worker was reaped."""
        workers = list(self._workers.values())
        for worker in workers:
            worker.stop(reason)
        return [worker.idle() for worker in workers]

    def leave(self) -> None:
        """Have no more to do with any of them: their processes run on."""
        workers, self._workers = list(self._workers.values()), {}
        for worker in workers:
            worker.leave()

    def weigh(self) -> None:
        """See `Worker.weigh`, for all."""
        for worker in list(self._workers.values()):
            worker.weigh()

    def forget_if_done(self, monitor_id: int, wanted: Collection[int]) -> bool:
        """A worker that nobody wants any more goes when it is reaped; a hold is remembered without it. Whether it went."""
        worker = self._workers.get(monitor_id)
        if monitor_id in wanted or worker is None or worker.state not in IDLE:
            return False
        del self._workers[monitor_id]
        return True

    def _add(self, monitor_id: int, worker: Worker) -> Worker:
        self._workers[monitor_id] = worker
        if monitor_id in self._held:
            worker.hold("an operator holds it")
        return worker
