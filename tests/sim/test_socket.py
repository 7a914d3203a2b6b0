"""The stream socket: who gets what, when (doc/reference/worker.md, Blocking sends)."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.harness import Client, Sim, document, is_media, node
from tests.waiting import wait_for
from zmtwist.wire.messages import Bye, Event, Hello, Keyframe, Media, MessageType, Response, Stats

Start = Callable[..., Sim]
LIGHT = "light,fps=20,gop=0.2"
ALWAYS = "first=0,present=1,period=1"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sim]:
    """One process for the tests that change nothing in it."""
    folder = tmp_path_factory.mktemp("shared")
    sim = Sim(folder, document(node("motion_gate")), f"{LIGHT},{ALWAYS},stats=0.3")
    yield sim
    sim.clean_up()


@pytest.fixture
def steady(shared: Sim) -> Iterator[Sim]:
    """The shared process, left without clients."""
    yield shared
    while shared.clients:
        shared.clients.pop().close()
    wait_for(lambda: shared.connected() == 0, "no clients")


def test_a_client_gets_hello_the_cached_keyframe_and_then_everything(start: Start, tmp_path: Path) -> None:
    store = node("store", root=str(tmp_path / "e"), max_secs=0.4)
    sim = start(document(node("motion_gate"), store), f"{LIGHT},{ALWAYS}")
    early = sim.connect()
    first = early.until(is_media)
    assert (first.sequence, first.keyframe, first.pts_us) == (0, True, 0)
    late = sim.connect()
    late.until(is_media)
    hello, keyframe = late.messages[:2]
    assert isinstance(hello, Hello) and (hello.codec_id, hello.width, hello.height) == (27, 320, 240)
    assert isinstance(keyframe, Keyframe)
    twin = early.until(lambda m: isinstance(m, Media) and m.sequence > keyframe.sequence)
    cached = next(m for m in early.messages if isinstance(m, Media) and m.sequence == keyframe.sequence)
    assert (cached.keyframe, cached.payload, cached.pts_us) == (True, keyframe.payload, keyframe.pts_us)
    assert twin.pts_us > keyframe.pts_us
    late.event(0x0301, "motion")
    late.event(0x0303)
    late.event(0x0304)


def test_sequences_have_no_gaps_and_times_are_the_cameras(start: Start) -> None:
    client = start(document(node("motion_gate")), f"light,fps=50,{ALWAYS}").connect()
    for _ in range(30):
        client.until(is_media)
    media = [message for message in client.messages if isinstance(message, Media)]
    events = [message for message in client.messages if isinstance(message, Event)]
    assert [message.sequence for message in media] == list(range(len(media)))
    assert [message.pts_us for message in media] == [at * 20_000 for at in range(len(media))]
    assert [message.sequence for message in events] == list(range(len(events)))
    assert [event.detail.pts_usec for event in events] == [message.pts_us for message in media][: len(events)]


def test_subscribe_chooses_and_resends_the_hello_of_what_is_wanted(steady: Sim) -> None:
    client = steady.connect()
    client.next(Hello)
    client.subscribe(video=False, events=True)
    sync(client)
    seen = len(client.messages)
    for _ in range(10):
        client.event(0x0301)
    assert not any(isinstance(message, Media | Hello) for message in client.messages[seen:])
    client.subscribe(video=True, events=False)
    client.next(Hello)
    seen = len(client.messages)
    for _ in range(5):
        client.until(is_media)
    assert not any(isinstance(message, Event) for message in client.messages[seen:])


def sync(client: Client) -> None:
    """Wait until everything sent so far has been acted on: messages are handled in order."""
    client.send_json(MessageType.COMMAND, {"cmd": "ping", "request_id": 99})
    client.until(lambda message: isinstance(message, Response) and message.request_id == 99)


def test_stats_count_all_that_was_sent_before_and_come_on_an_idle_link_too(start: Start, tmp_path: Path) -> None:
    idle = start(document(path=str(tmp_path / "none.mp4")), "light,stats=0.1").connect()
    assert idle.event(0x0101).detail.type == "connection_failed"
    assert [idle.next(Stats) for _ in range(3)] == [Stats(1, 0), Stats(2, 0), Stats(3, 0)]


def test_stats_of_a_busy_link(steady: Sim) -> None:
    client = steady.connect()
    for _ in range(2):
        stats = client.next(Stats)
        assert stats == Stats(client.looked_at - 1, 0)


def test_a_failed_connection_is_told_to_every_later_client(start: Start, tmp_path: Path) -> None:
    sim = start(document(path=str(tmp_path / "none.mp4")), "light")
    first = sim.connect().event(0x0101)
    again = sim.connect().event(0x0101)
    assert first == again
    assert first.sequence == 0
    assert sim.process.poll() is None
    sim.terminate()
    assert sim.ended() == 0


def test_a_ninth_client_is_accepted_and_closed(start: Start) -> None:
    sim = start(document(), LIGHT)
    clients = [sim.connect() for _ in range(8)]
    for client in clients:
        client.next(Hello)
    assert sim.connect().to_the_end() == []
    clients[0].connection.close()
    wait_for(lambda: sim.connected() == 7, "a place")
    sim.connect().next(Hello)


def test_a_command_is_answered_to_its_sender_with_its_request_id(steady: Sim) -> None:
    sender, other = steady.connect(), steady.connect()
    other.next(Hello)
    sender.send_json(MessageType.COMMAND, {"cmd": "assign_recording", "clip_token": "3-1-1", "event_id": 5})
    assert sender.answered() == Response(0, True, "dispatched", "")
    sender.send_json(MessageType.COMMAND, {"name": "anything", "request_id": 41})
    assert sender.answered() == Response(41, True, "dispatched", "")
    sync(other)
    assert [m.request_id for m in other.messages if isinstance(m, Response)] == [99]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (MessageType.SUBSCRIBE, {"video": "yes"}),
        (MessageType.COMMAND, {"cmd": "x", "request_id": "7"}),
        (MessageType.COMMAND, {"cmd": "assign_recording", "clip_token": "t", "event_id": "512", "request_id": 1}),
        (MessageType.COMMAND, {"cmd": "assign_recording", "clip_token": "t", "event_id": -512}),
    ],
)
def test_a_wrong_json_type_aborts(start: Start, kind: MessageType, value: Any) -> None:
    sim = start(document(), "light")
    sim.connect().send_json(kind, value)
    assert sim.ended() == -signal.SIGABRT
    assert "terminate called" in sim.log
    assert sim.path.exists()


def test_a_client_with_an_impossible_header_is_dropped_and_no_other(steady: Sim) -> None:
    good, bad = steady.connect(), steady.connect()
    bad.next(Hello)
    bad.connection.sendall(b"\x00" * 24)
    bad.to_the_end()
    good.until(is_media)


def test_a_media_client_that_does_not_read_stops_everything(start: Start, tmp_path: Path) -> None:
    store = node("store", root=str(tmp_path / "e"), max_secs=60)
    sim = start(document(store), "light,fps=50,media_bytes=20000")
    reader, stuck = sim.connect(), sim.connect()
    reader.until(is_media)
    # The stuck one gets what its socket holds, then the other gets nothing any more: neither media nor an answer.
    with pytest.raises(AssertionError, match="not within"):
        for _ in range(500):
            reader.until(is_media, seconds=0.7)
    sim.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        sim.ended(0.7)
    # Once it reads again, everything goes on where it stood.
    stuck.connection.setblocking(True)
    assert isinstance(stuck.to_the_end()[-1], Bye)
    assert sim.ended() == 0


def test_an_events_client_that_does_not_read_does_no_harm(start: Start, tmp_path: Path) -> None:
    sim = start(document(node("motion_gate")), f"light,fps=50,media_bytes=20000,{ALWAYS}")
    lazy = sim.connect()
    lazy.subscribe(video=False, events=True)
    sync(lazy)
    reader = sim.connect()
    for _ in range(60):
        reader.until(is_media)
    sim.terminate()
    assert sim.ended() == 0


def test_a_client_that_goes_away_is_forgotten(steady: Sim) -> None:
    client, other = steady.connect(), steady.connect()
    client.until(is_media)
    client.connection.shutdown(socket.SHUT_RDWR)
    client.connection.close()
    wait_for(lambda: steady.connected() == 1, "the other alone")
    other.until(is_media)
