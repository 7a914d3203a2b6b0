"""Links to the pretended workers, with the losses that real connections have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from tests.simulation.clips import RATE
from tests.simulation.host import Host
from tests.simulation.world import World
from zmtwist.wire.event_details import StreamState
from zmtwist.wire.link import CommandTimeout, NotLinked
from zmtwist.wire.messages import Event, Hello, Response, Stream
from zmtwist.wire.sequence import EventCount

if TYPE_CHECKING:
    from tests.simulation.workers import Worker


class Link:
    """In place of `wire.link.WorkerLink`: no bytes, but the same comings and goings."""

    def __init__(
        self, host: Host, path: str, monitor_id: int, sink: Any, observer: Any, *, wall: Any, sample_seconds: float
    ) -> None:
        self.host, self.path, self.monitor_id, self.sink, self.observer = host, path, monitor_id, sink, observer
        self.world = host.world
        self.worker: Worker | None = None
        self.count = EventCount()
        self.pid = 0
        self.wanted = False
        self.silent = False
        self._sample_seconds = sample_seconds
        self._drains: list[Deferred[None]] = []
        self._commands: list[Deferred[Response]] = []
        self.video: Hello | None = None
        self.world.links.append(self)
        host.at_death.append(self._vanish)

    @staticmethod
    def waiting(world: World, path: str) -> list[Link]:
        return [link for link in world.links if link.wanted and link.path == path and link.worker is None]

    def start(self) -> None:
        self.wanted = True
        self.host.callLater(self.world.chance.uniform(0.001, 0.05), self.connect)

    def connect(self) -> None:
        """If a worker listens, be its client."""
        worker = next((w for w in self.world.living(self.monitor_id) if w.bound and w.socket == self.path), None)
        if not self.wanted or self.host.dead or self.worker is not None or worker is None or worker.link is not None:
            return
        self.worker, worker.link = worker, self
        if worker.pid != self.pid:
            self.pid, self.count = worker.pid, EventCount(received=self.count.received, missed=self.count.missed)
        self.greet()
        self.observer.linked()
        self.host.callLater(min(1.0, self._sample_seconds), self._sample, worker)

    def greet(self) -> None:
        """The worker says what it sends."""
        if self.worker is not None:
            self.video = Hello(Stream.VIDEO, self.worker.codec, generation=self.worker.generation)
            self.sink.hello(self.monitor_id, self.video)

    def _sample(self, worker: Worker) -> None:
        if self.worker is not worker or self.silent:
            return
        if not worker.stalled and worker.camera.there:
            self.sink.rate(self.monitor_id, float(RATE), 1000.0)
            self.observer.stats()
            self.observer.media(float(RATE))
        self.host.callLater(self._sample_seconds, self._sample, worker)

    def heard(self, event: Event) -> None:
        before = self.count.missed
        self.count = self.count.after(event.sequence)
        if self.count.missed > before:
            self.sink.gap(self.monitor_id, self.count.missed - before)
        self.sink.event(self.monitor_id, event, self.world.wall())
        if isinstance(event.detail, StreamState):
            self.observer.stream(event.detail.stream_id, event.detail.event == "StreamConnected")

    def lost(self) -> None:
        """The connection is gone."""
        if self.worker is None:
            return
        if self.worker.link is self:
            self.worker.link = None
        if self.worker.clip is not None:
            self.worker.clip.disturbed = True
        self.worker = None
        if not self.silent:
            self.observer.unlinked("gone")
        self._end()
        if self.wanted:
            self.host.callLater(self.world.chance.uniform(0.05, 3.0), self.connect)

    def drain(self) -> Deferred[None]:
        self.wanted = False
        if self.worker is None:
            return succeed(None)
        self._drains.append(Deferred())
        return self._drains[-1]

    def abort(self) -> None:
        self._vanish()
        self._end()

    def _vanish(self) -> None:
        self.wanted, self.silent = False, True
        if self.worker is not None and self.worker.link is self:
            self.worker.link = None
        self.worker = None
        if self in self.world.links:
            self.world.links.remove(self)

    def _end(self) -> None:
        drains, self._drains = self._drains, []
        commands, self._commands = self._commands, []
        for command in commands:
            command.errback(NotLinked("the connection went away"))
        for drain in drains:
            drain.callback(None)

    def command(self, name: str, /, **fields: Any) -> Deferred[Response]:
        if self.worker is None:
            return fail(NotLinked("no connection"))
        answer: Deferred[Response] = Deferred()
        self._commands.append(answer)

        def reach(worker: Worker) -> None:
            if self.worker is not worker or worker.stalled:
                return
            fate = self.world.chance.random() if self.world.troubles.assignments else 1.0
            if fate < 0.3:
                self._answer(answer, Response(ok=False, message="no such clip"))
                return
            worker.assign(fields)
            if fate >= 0.6:
                self._answer(answer, Response(ok=True))

        def give_up() -> None:
            self._answer(answer, Failure(CommandTimeout("no answer")))

        self.host.callLater(self.world.chance.uniform(0.0005, 0.005), reach, self.worker)
        self.host.callLater(5.0, give_up)
        return answer

    def _answer(self, answer: Deferred[Response], result: Any) -> None:
        if answer in self._commands:
            self._commands.remove(answer)
            answer.callback(result)

    @property
    def status(self) -> SimpleNamespace:
        return SimpleNamespace(video=self.video, audio=None, events=self.count.received, event_gaps=self.count.missed)
