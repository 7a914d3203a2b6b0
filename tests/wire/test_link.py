"""The link: when it connects, what it says and asks, what it concludes, and how it ends."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define, field
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.waiting import crowd, until
from tests.wire.doubles import CAPTURES, KeepingObserver, KeepingSink, WorkerEnd
from zmtwist.interfaces import IEventSink, ILinkObserver
from zmtwist.wire.encode import (
    encode_bye,
    encode_event,
    encode_hello,
    encode_media,
    encode_response,
    encode_stats,
)
from zmtwist.wire.frames import encode_frame
from zmtwist.wire.link import CommandTimeout, NotLinked, WorkerLink
from zmtwist.wire.link_machine import CLOSE_SECONDS, CLOSE_STEP
from zmtwist.wire.messages import Hello, Response, Subscribe

EVENTS_ONLY = Subscribe(video=False, audio=False, events=True)
WITH_VIDEO = Subscribe(video=True, audio=False, events=True)
WALL = 1_795_338_654_000_000
ASSIGNMENT = {"clip_token": "7-1-2", "event_id": 512, "dir": "/srv/7", "video_name": "512-video.mp4"}


@define
class Bench:
    """A link to be tried, and the two ends of what it does."""

    path: Path
    reactor: Any = field(factory=MemoryReactorClock)
    sink: KeepingSink = field(factory=KeepingSink)
    observer: KeepingObserver = field(factory=KeepingObserver)
    link: WorkerLink = field(init=False)
    sockets: list[socket.socket] = field(factory=list)
    _attempts_seen: int = 0

    def __attrs_post_init__(self) -> None:
        self.link = WorkerLink(self.reactor, str(self.path), 7, self.sink, self.observer, wall=lambda: WALL)

    def bind(self, *, listen: bool = True) -> None:
        self.path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind(str(self.path))
        if listen:
            bound.listen(8)
        self.sockets.append(bound)
        self.look()

    def look(self) -> None:
        """Let the reactor do what it would at once: timers that are due, and reads of inotify."""
        self.reactor.advance(0)
        for reader in list(self.reactor.readers):
            reader.doRead()
        self.reactor.advance(0)

    def attempts(self) -> int:
        """How many attempts to connect were begun since the last time."""
        new = len(self.reactor.unixClients) - self._attempts_seen
        self._attempts_seen += new
        return new

    def refuse(self) -> None:
        self.reactor.unixClients[-1][1].clientConnectionFailed(None, Failure(ConnectError(string="refused")))

    def accept(self, pid: int = 0) -> WorkerEnd:
        return WorkerEnd(self.reactor.unixClients[-1][1].buildProtocol(None), pid)

    def linked(self) -> WorkerEnd:
        """Started, connected, and its first SUBSCRIBE taken."""
        self.link.start()
        self.bind()
        worker = self.accept()
        worker.hear()
        return worker


@pytest.fixture
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="zml") as short:
        made = Bench(Path(short) / "stream_7.sock")
        yield made
        made.link.abort()
        assert made.reactor.getDelayedCalls() == [], "a timer outlived the link"
        for bound in made.sockets:
            bound.close()


def video(sequence: int, size: int = 100, **fields: Any) -> bytes:
    return encode_media(0, b"x" * size, sequence=sequence, pts_us=0, **fields)


def motion(sequence: int) -> bytes:
    return encode_event(0x0301, sequence=sequence, wall_us=5, detail={"type": "motion", "changed": 9})


def test_doubles_are_what_they_stand_for() -> None:
    verifyObject(IEventSink, KeepingSink())
    verifyObject(ILinkObserver, KeepingObserver())


# Connecting


def test_connects_when_the_socket_is_bound_and_asks_for_events_only_first(bench: Bench) -> None:
    bench.link.start()
    bench.link.start()
    bench.look()
    assert bench.attempts() == 0
    assert bench.link.status.state == "WAITING"
    bench.bind()
    assert bench.attempts() == 1
    assert bench.reactor.unixClients[0][0] == str(bench.path)
    worker = bench.accept()
    assert worker.hear() == [EVENTS_ONLY]
    assert bench.link.status.state == "LINKED"
    assert bench.link.status.connected_since == bench.reactor.seconds()
    assert bench.observer.told == []
    worker.say(encode_stats(1, 0))
    assert bench.observer.told == ["linked", "stats"]


def test_a_socket_that_is_there_already_is_connected_to_at_once(bench: Bench) -> None:
    bench.bind()
    bench.link.start()
    bench.look()
    assert bench.attempts() == 1


def test_a_bound_socket_that_does_not_listen_yet_is_tried_again_every_millisecond(bench: Bench) -> None:
    bench.link.start()
    bench.bind(listen=False)
    for _ in range(20):
        assert bench.attempts() == 1
        bench.refuse()
        bench.reactor.advance(CLOSE_STEP)
    assert bench.attempts() == 1
    bench.accept()
    assert bench.link.status.state == "LINKED"


def test_a_dead_socket_is_tried_ever_more_seldom_and_a_new_one_at_once(bench: Bench) -> None:
    bench.bind()
    bench.link.start()
    bench.look()
    bench.reactor.advance(CLOSE_SECONDS)
    delays = []
    for _ in range(15):
        bench.attempts()
        bench.refuse()
        waited = 0.0
        while not bench.attempts():
            bench.reactor.advance(0.01)
            waited += 0.01
        delays.append(waited)
    assert all(later > earlier - 0.02 for earlier, later in pairwise(delays))
    assert delays[0] < 0.2
    assert 2 < delays[-1] < 4
    bench.refuse()
    assert bench.attempts() == 0
    bench.bind()
    assert bench.attempts() == 1


def test_one_that_lets_us_in_and_closes_at_once_counts_as_a_failure_and_is_not_told_of(bench: Bench) -> None:
    """A ninth client is treated so."""
    bench.link.start()
    bench.bind()
    turns = 0
    while bench.reactor.seconds() < 20:
        if bench.attempts():
            bench.accept().close()
            turns += 1
        bench.reactor.advance(0.05)
    assert 5 < turns < 15
    assert bench.observer.told == []


def test_after_a_connection_that_worked_the_first_retry_comes_soon(bench: Bench) -> None:
    worker = bench.linked()
    worker.say(encode_stats(1, 0))
    for _ in range(10):
        bench.attempts()
        worker.close(ConnectionLost())
        bench.look()
        assert bench.attempts() == 0, "the same socket is no news"
        bench.reactor.advance(0.1)
        assert bench.attempts() == 1
        worker = bench.accept()
        worker.say(encode_stats(1, 0))
    assert bench.link.status.reconnects == 10
    assert bench.observer.told.count("linked") == 11
    assert len([told for told in bench.observer.told if told[0] == "unlinked"]) == 10


# What comes is handed on


def test_events_and_hellos_are_handed_on_and_a_hello_only_when_it_is_new(bench: Bench) -> None:
    worker = bench.linked()
    hello = Hello(stream=0, codec_id=27, width=160)
    worker.say(encode_hello(hello), motion(0), encode_hello(hello))
    worker.say(encode_hello(Hello(stream=0, codec_id=173)), encode_bye())
    assert [event.sequence for event in bench.sink.events] == [0]
    assert bench.sink.received_at == [WALL]
    assert bench.sink.hellos == [hello, Hello(stream=0, codec_id=173)]
    assert bench.link.status.video == Hello(stream=0, codec_id=173)
    assert bench.observer.told == ["linked", "bye"]
    worker.close()
    bench.reactor.advance(1)
    bench.accept().say(encode_hello(Hello(stream=0, codec_id=173)))
    assert len(bench.sink.hellos) == 3, "each connection tells it anew"


def test_a_sink_that_raises_loses_one_message_and_not_the_stream(bench: Bench) -> None:
    caught: list[Any] = []
    globalLogPublisher.addObserver(caught.append)
    worker = bench.linked()
    bench.sink.fault = RuntimeError("from the sink")
    worker.say(motion(0), motion(1), encode_stats(3, 0))
    globalLogPublisher.removeObserver(caught.append)
    assert len(bench.sink.events) == 2
    assert bench.observer.told[-1] == "stats"
    assert len([event for event in caught if "log_failure" in event]) == 2


def test_events_before_the_first_and_later_gaps_are_told(bench: Bench) -> None:
    worker = bench.linked()
    worker.say(motion(3), motion(4), motion(7))
    assert bench.sink.gaps == [3, 2]
    worker.close()
    bench.reactor.advance(1)
    worker = bench.accept()
    health = {"type": "connection_failed"}
    worker.say(encode_event(0x0101, sequence=6, wall_us=1, detail=health), motion(9))
    assert bench.sink.gaps == [3, 2, 1]
    worker.say(motion(2), motion(3))
    assert bench.sink.gaps == [3, 2, 1, 2], "a number that lies behind is a new worker's"
    assert (bench.link.status.event_gaps, bench.link.status.events) == (8, 6)


def test_a_snapshot_on_connect_has_no_place_in_the_count(bench: Bench) -> None:
    worker = bench.linked()
    worker.say(encode_event(0x0001, sequence=5, wall_us=1, message="all well"), motion(0), motion(1))
    assert (bench.sink.gaps, len(bench.sink.events)) == ([], 3)


def test_a_worker_of_another_pid_counts_anew_and_the_same_one_goes_on(bench: Bench) -> None:
    bench.link.start()
    bench.bind()
    for pid, sequence in ((10, 0), (10, 3), (11, 5), (11, 6)):
        worker = bench.accept(pid)
        worker.say(motion(sequence))
        worker.close()
        bench.reactor.advance(0.2)
        assert bench.link.status.worker_pid == pid
    assert bench.sink.gaps == [2, 5]


@pytest.mark.parametrize(("name", "gaps"), [("event", [2]), ("continuous", [1]), ("both", [1]), ("dead_input", [])])
def test_captures_through_the_link(bench: Bench, name: str, gaps: list[int]) -> None:
    worker = bench.linked()
    worker.say((CAPTURES / f"{name}.bin").read_bytes())
    assert bench.sink.gaps == gaps
    assert bench.observer.told[-1] == "bye"
    assert bench.observer.told.count("stats") == 2
    status = bench.link.status
    assert status.malformed == status.unknown == status.details_unreadable == status.details_raw == 0


def test_a_stream_out_of_step_is_dropped_and_connected_anew(bench: Bench) -> None:
    worker = bench.linked()
    worker.say(motion(0), b"\xff" * 24)
    assert len(bench.sink.events) == 1
    assert worker.transport.disconnected
    worker.close(ConnectionLost())
    assert bench.observer.told[-1][0] == "unlinked"
    assert "trusted" in bench.observer.told[-1][1]
    bench.reactor.advance(1)
    assert bench.attempts() == 2


def test_a_worker_that_talks_nonsense_each_time_is_tried_ever_more_seldom(bench: Bench) -> None:
    worker = bench.linked()
    bench.attempts()
    connections = 0
    while bench.reactor.seconds() < 60:
        if worker is not None:
            worker.say(encode_stats(1, 0), b"\xff" * 24)
            worker.close(ConnectionLost())
            worker = None
            connections += 1
        bench.reactor.advance(0.05)
        if bench.attempts():
            worker = bench.accept()
    assert 20 < connections < 35
    assert bench.link.status.untrusted == connections


def test_a_connection_that_could_be_trusted_for_long_makes_up_for_it(bench: Bench) -> None:
    worker = bench.linked()
    for _ in range(12):
        worker.say(encode_stats(1, 0), b"\xff" * 24)
        worker.close(ConnectionLost())
        bench.attempts()
        bench.reactor.advance(3.1)
        assert bench.attempts() == 1
        worker = bench.accept()
    worker.say(encode_stats(1, 0))
    bench.reactor.advance(61)
    worker.close(ConnectionLost())
    bench.reactor.advance(3.1)
    worker = bench.accept()
    worker.say(encode_stats(1, 0))
    worker.close(ConnectionLost())
    bench.attempts()
    bench.reactor.advance(0.1)
    assert bench.attempts() == 1


def test_what_is_skipped_is_counted_over_all_connections(bench: Bench) -> None:
    worker = bench.linked()
    worker.say(encode_frame(0x66), encode_frame(0x04, b"short"))
    worker.close()
    bench.reactor.advance(1)
    bench.accept().say(encode_frame(0x66), encode_event(0x0301, sequence=0, wall_us=1, detail={"type": "new"}))
    status = bench.link.status
    assert (status.unknown, status.malformed, status.details_raw) == (2, 1, 1)


# Sampling


def test_samples_ask_for_video_until_one_frame_has_come_and_two_give_the_rate(bench: Bench) -> None:
    worker = bench.linked()
    bench.reactor.advance(1)
    assert worker.hear() == [WITH_VIDEO]
    bench.reactor.advance(0.5)
    worker.say(video(100, size=1000))
    assert worker.hear() == [EVENTS_ONLY]
    assert bench.observer.told == ["linked", ("media", None)]
    bench.reactor.advance(4.5)
    assert worker.hear() == [WITH_VIDEO]
    bench.reactor.advance(0.5)
    worker.say(video(150, size=3000), video(151, size=2000))
    assert worker.hear() == [EVENTS_ONLY]
    assert bench.sink.rates == [pytest.approx((51 / 5, 51 / 5 * 2000))]
    assert bench.observer.told[-1] == ("media", 51 / 5)
    status = bench.link.status
    assert (status.frames_per_second, status.last_media_at) == (51 / 5, bench.reactor.seconds())


def test_a_sequence_that_jumps_gives_no_rate_and_the_next_sample_counts_from_there(bench: Bench) -> None:
    worker = bench.linked()
    worker.say(video(1))
    for sequence in (100_000_000, 100_000_075, 2_100_000_075, 2_100_000_150):
        bench.reactor.advance(5.0)
        worker.say(video(sequence))
    assert bench.sink.rates == [(15.0, 1500.0)] * 2
    assert bench.link.status.samples_discarded == 2


def test_no_media_no_sign_of_life(bench: Bench) -> None:
    worker = bench.linked()
    worker.say(encode_stats(1, 0), encode_media(1, b"sound", sequence=1, pts_us=0), video(0, cached=True))
    for _ in range(6):
        bench.reactor.advance(5)
    assert bench.observer.told == ["linked", "stats"]
    assert worker.subscriptions() == [WITH_VIDEO], "asked once, and kept asking"
    worker.say(video(1))
    assert bench.observer.told[-1] == ("media", None)


def test_unasked_media_is_the_first_sample_and_a_producer_that_ignores_us_still_gives_rates(bench: Bench) -> None:
    worker = bench.linked()
    for step in range(120):
        worker.say(video(step))
        bench.reactor.advance(0.1)
    assert bench.observer.told[:2] == ["linked", ("media", None)]
    rates = [told[1] for told in bench.observer.told[2:]]
    assert rates == pytest.approx([10.0] * 3)


def test_a_new_generation_a_lower_number_or_a_new_connection_begins_the_pair_anew_and_numbers_wrap(
    bench: Bench,
) -> None:
    def sample(worker: WorkerEnd, frame: bytes) -> float | None:
        bench.reactor.advance(5)
        worker.say(frame)
        kind, rate = bench.observer.told[-1]
        assert kind == "media"
        return rate

    worker = bench.linked()
    assert sample(worker, video(2**32 - 10)) is None
    assert sample(worker, video(40)) == 10.0
    assert sample(worker, video(20)) is None
    assert sample(worker, video(70)) == 10.0
    assert sample(worker, encode_frame(2, b"x", sequence=120, generation=1)) is None
    worker.close()
    assert bench.link.status.frames_per_second is None
    bench.reactor.advance(1)
    assert sample(bench.accept(), encode_frame(2, b"x", sequence=170, generation=1)) is None


# Commands


def test_an_answer_is_matched_by_its_request_id(bench: Bench) -> None:
    worker = bench.linked()
    first, second = (
        bench.link.command("assign_recording", **ASSIGNMENT),
        bench.link.command("assign_recording", **{**ASSIGNMENT, "event_id": 513}),
    )
    assert [command.request_id for command in worker.commands()] == [1, 2]
    assert bench.link.status.commands_in_flight == 2
    answers: list[Any] = []
    first.addCallback(lambda response: answers.append(("first", response)))
    second.addCallback(lambda response: answers.append(("second", response)))
    worker.say(*(encode_response(Response(request_id=number, ok=number == 1)) for number in (2, 9, 1, 1)))
    assert answers == [("second", Response(2, False)), ("first", Response(1, True))]
    assert bench.link.status.commands_in_flight == 0


def test_commands_fail_without_a_link_by_time_and_for_what_must_not_be_sent(bench: Bench) -> None:
    errors: list[Exception] = []

    def send(**changed: Any) -> None:
        answer = bench.link.command("assign_recording", **{**ASSIGNMENT, **changed})
        answer.addErrback(lambda failure: errors.append(failure.value))

    send()
    worker = bench.linked()
    send(event_id="512")
    assert worker.hear() == []
    send()
    bench.reactor.advance(5)
    send()
    worker.close()
    assert [type(error) for error in errors] == [NotLinked, ValueError, CommandTimeout, NotLinked]
    assert "WAITING" not in str(errors[0])
    assert "monitor 7" in str(errors[2])


# The end


def test_drain_reads_to_the_end_writes_nothing_more_and_does_not_come_back(bench: Bench) -> None:
    worker = bench.linked()
    bench.reactor.advance(1)
    assert worker.hear() == [WITH_VIDEO]
    ended: list[str] = []
    bench.link.drain().addCallback(lambda _: ended.append("one"))
    bench.link.drain().addCallback(lambda _: ended.append("two"))
    assert worker.hear() == [EVENTS_ONLY]
    assert bench.link.status.state == "DRAINING"
    bench.reactor.advance(20)
    assert worker.hear() == []
    worker.say(motion(0), encode_bye())
    assert bench.observer.told == ["linked", "bye"]
    assert ended == []
    worker.close()
    assert ended == ["one", "two"]
    assert bench.observer.told[-1] == ("unlinked", "closed by the worker")
    assert bench.link.status.state == "IDLE"
    bench.attempts()
    bench.bind()
    bench.reactor.advance(10)
    assert bench.attempts() == 0


@pytest.mark.parametrize("when", ["idle", "waiting", "connecting"])
def test_drain_without_a_connection_is_over_at_once(bench: Bench, when: str) -> None:
    if when != "idle":
        bench.link.start()
    if when == "connecting":
        bench.bind()
    ended: list[None] = []
    bench.link.drain().addCallback(ended.append)
    assert ended == [None]
    bench.link.start()
    assert bench.link.status.state == "WAITING"


def test_start_while_draining_connects_again_after_the_end(bench: Bench) -> None:
    worker = bench.linked()
    ended: list[None] = []
    bench.link.drain().addCallback(ended.append)
    bench.link.start()
    worker.close()
    assert ended == [None]
    bench.bind()
    bench.accept()
    assert bench.link.status.state == "LINKED"


def test_abort_tells_nobody_but_those_who_wait_and_lets_go_of_all(bench: Bench) -> None:
    worker = bench.linked()
    worker.say(motion(0))
    waiting: list[Any] = []
    bench.link.command("assign_recording", **ASSIGNMENT).addErrback(lambda failure: waiting.append(failure.type))
    bench.link.drain().addCallback(waiting.append)
    told = list(bench.observer.told)
    bench.link.abort()
    assert waiting == [NotLinked, None]
    assert worker.transport.disconnected
    worker.say(motion(1))
    worker.close()
    assert (bench.observer.told, len(bench.sink.events)) == (told, 1)
    assert bench.reactor.getDelayedCalls() == []
    assert bench.link.status.state == "IDLE"


def test_what_the_observer_asks_for_when_it_is_told_is_done(bench: Bench) -> None:
    """Calls from within a callback come in the middle of a transition."""
    worker = bench.linked()
    ended: list[None] = []
    bench.observer.linked = lambda: bench.link.drain().addCallback(ended.append)
    bench.observer.unlinked = lambda reason: bench.link.start()
    worker.say(encode_stats(1, 0))
    assert bench.link.status.state == "DRAINING"
    worker.close()
    assert ended == [None]
    assert bench.link.status.state == "WAITING"


# A real socket


class Talker(Protocol):
    """A worker's end that keeps when it was connected to and what came first."""

    made: list[Talker]

    def connectionMade(self) -> None:
        self.at = time.perf_counter()
        self.heard = b""
        self.made.append(self)
        self.transport.write(encode_hello(Hello(stream=0, codec_id=27)) + motion(0))

    def dataReceived(self, data: bytes) -> None:
        self.heard += data


@pytest_twisted.ensureDeferred
async def test_a_real_socket_is_connected_to_within_milliseconds_of_its_bind() -> None:
    with tempfile.TemporaryDirectory(prefix="zml") as short:
        path = str(Path(short) / "not yet" / "stream_7.sock")
        sink, observer = KeepingSink(), KeepingObserver()
        link = WorkerLink(real_reactor, path, 7, sink, observer)
        link.start()
        await deferLater(real_reactor, 0.01)
        Path(path).parent.mkdir()
        await deferLater(real_reactor, 0.01)
        latencies = []
        for turn in range(5):
            made: list[Talker] = []
            factory = Factory.forProtocol(type("Told", (Talker,), {"made": made}))
            factory.noisy = False
            bound_at = time.perf_counter()
            port = await UNIXServerEndpoint(real_reactor, path).listen(factory)
            await until(lambda made=made: bool(made))
            latencies.append(made[0].at - bound_at)
            await until(lambda turn=turn: len(sink.events) > turn)
            assert made[0].heard == b"" or made[0].heard[5] == 0x10
            assert link.status.state == "LINKED"
            assert link.status.worker_pid == os.getpid()
            await port.stopListening()
            made[0].transport.abortConnection()
            await until(lambda: link.status.state == "WAITING")
        latencies.sort()
        print(f"bind to connect: median {latencies[2] * 1000:.2f} ms, longest {latencies[-1] * 1000:.2f} ms")
        assert latencies[2] < 0.025 * crowd()
        drained: Deferred[None] = link.drain()
        await drained
