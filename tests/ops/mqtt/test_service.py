"""The service, with time and the broker's word played by hand."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tests.ops.mqtt.world import START, FakeConnection, Running, decoded, open_event, worker
from zmtwist.config.model import MqttConfig
from zmtwist.fleet.process.state import State, Transition
from zmtwist.notifications import EventOpened
from zmtwist.ops.mqtt import service as module
from zmtwist.ops.mqtt.messages import Message
from zmtwist.ops.mqtt.outbox import MOST
from zmtwist.ops.mqtt.service import LOOK_SECONDS, SOON_SECONDS, STOP_SECONDS, WINDOW, MqttService

ONLINE = Message("zmnext/available", b"online", retain=True)
OFFLINE = Message("zmnext/available", b"offline", retain=True)


class Scene:
    def __init__(self) -> None:
        self.clock = Clock()
        self.running = Running([worker(3)], names={3: "Front"})
        config = MqttConfig(url="mqtt://me:hush@broker", discovery=False)
        self.service = MqttService(self.clock, config, self.running, wall=self._wall, connect=self._connect)
        self.service.startService()

    def _wall(self) -> int:
        return START + round(self.clock.seconds() * 1e6)

    def _connect(self, *args: object) -> FakeConnection:
        self.connection = FakeConnection(*args)  # type: ignore[arg-type]
        return self.connection

    def states(self) -> list[str]:
        return [decoded(m)["state"] for m in self.connection.take() if m.topic.endswith("/state")]

    def happen(self, number: int) -> None:
        self.service.announce(EventOpened(3, number, START, "Motion"))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_connection_brings_the_birth_message_and_the_states_each_time(scene: Scene) -> None:
    connection = scene.connection
    assert (connection.will, connection.started) == (OFFLINE, True)
    scene.clock.advance(5)
    assert connection.published == []
    for _ in range(2):
        scene.service.up()
        first, *rest = connection.take()
        assert first == ONLINE
        assert [m.topic for m in rest if m.payload] == ["zmnext/monitors/3/state"]
        scene.service.down("gone")
    assert connection.filters == 2 * ["zmnext/monitors/+/state"]


def test_a_change_is_told_soon_and_what_nobody_announced_within_a_second(scene: Scene) -> None:
    scene.service.up()
    scene.connection.take()
    scene.running.workers = [worker(3, State.STALLED)]
    scene.service.announce(Transition(3, State.LIVE, State.STALLED, "no media", START))
    scene.clock.advance(SOON_SECONDS)
    assert scene.states() == ["STALLED"]
    scene.running.workers = [worker(3, State.LIVE)]
    scene.clock.advance(LOOK_SECONDS)
    assert scene.states() == ["LIVE"]


def test_nothing_is_known_of_any_monitor_before_the_database_has_told(scene: Scene) -> None:
    scene.running.up = False
    scene.service.up()
    scene.service.heard("zmnext/monitors/9/state")
    assert scene.connection.take() == [ONLINE]
    scene.running.up, scene.running.workers = True, []
    scene.clock.advance(LOOK_SECONDS)
    assert scene.connection.take() == []  # the fleet has not read them yet
    scene.running.unwanted = {3: "not opted in"}
    scene.clock.advance(LOOK_SECONDS)
    assert "zmnext/monitors/9/state" in {m.topic for m in scene.connection.take() if not m.payload}


def test_a_service_that_hands_its_workers_over_takes_nothing_back(scene: Scene) -> None:
    scene.service.up()
    scene.connection.take()
    scene.running.running, scene.running.workers, scene.running.unwanted = False, [], {4: "not opted in"}
    scene.clock.advance(LOOK_SECONDS)
    assert scene.connection.take() == []
    scene.running.workers = [worker(3, State.STOPPED)]  # one that stops tells its last states
    scene.clock.advance(LOOK_SECONDS)
    assert scene.states() == ["STOPPED"]


def test_a_broker_that_is_away_or_slow_costs_a_bounded_queue(scene: Scene) -> None:
    for number in range(MOST + 5):
        scene.happen(number)
    assert scene.connection.published == []
    assert scene.service.dropped == 5
    with capturedLogs() as logs:
        scene.service.up()
    assert [e["count"] for e in logs if "dropped" in e["log_format"]] == [5]
    assert len(scene.connection.published) == WINDOW  # it says nothing yet
    scene.clock.advance(60)
    assert len(scene.connection.published) == WINDOW
    scene.connection.accept(3)
    assert len(scene.connection.published) == WINDOW + 3
    scene.connection.accept(WINDOW)
    events = [decoded(m)["event_id"] for m in scene.connection.published + scene.connection.take() if not m.retain]
    assert sorted(set(events)) == list(range(5, MOST + 5))


def test_each_reason_for_being_away_is_logged_once_without_the_password(scene: Scene) -> None:
    with capturedLogs() as logs:
        for why in ("refused", "gone", "refused", "gone"):
            scene.service.down(why)
        scene.service.up()
        scene.service.down("refused")
    assert [e["why"] for e in logs if "why" in e] == ["refused", "gone", "refused"]
    assert "hush" not in repr(logs)


def test_a_look_that_fails_is_not_the_last(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.service.up()
    scene.connection.take()
    with monkeypatch.context() as patch, capturedLogs() as logs:
        patch.setattr(Running, "status", lambda _self: 1 / 0)
        scene.clock.advance(LOOK_SECONDS)
    assert [e["log_failure"].type for e in logs] == [ZeroDivisionError]
    scene.running.workers = [worker(3, State.BACKOFF)]
    scene.clock.advance(LOOK_SECONDS)
    assert scene.states() == ["BACKOFF"]


def test_an_orderly_stop_sends_what_is_left_and_says_goodbye(scene: Scene) -> None:
    scene.service.up()
    scene.connection.take()
    scene.running.under_way = [open_event(7)]
    scene.happen(7)
    stopping = scene.service.stopService()
    assert not stopping.called
    assert [m.topic.split("/")[-1] for m in scene.connection.published] == ["event", "state"]
    assert scene.connection.take()[-1] == OFFLINE
    assert scene.connection.stopped
    scene.service.down("goodbye")
    assert stopping.called
    assert scene.clock.getDelayedCalls() == []


def test_the_last_word_is_offline_even_where_the_broker_takes_nothing(scene: Scene) -> None:
    scene.service.up()
    scene.happen(7)
    stopping = scene.service.stopService()
    scene.clock.advance(STOP_SECONDS)
    assert scene.connection.published[-1] == OFFLINE
    assert scene.connection.stopped
    scene.clock.advance(STOP_SECONDS)
    assert stopping.called


@pytest.mark.parametrize("started", [True, False])
def test_a_stop_without_a_connection_waits_for_nothing(started: bool) -> None:
    scene = Scene()
    if not started:
        scene.service = module.MqttService(
            scene.clock, MqttConfig(url="mqtt://x"), scene.running, wall=lambda: START, connect=scene._connect
        )
    assert scene.service.stopService().called
    assert scene.connection.stopped
