"""What can be told of MQTT without a broker: its URL, topics, payloads, and what is kept for later."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.mqtt.world import SECOND, START, decoded, open_event, worker
from zmtwist.config.mqtt_url import Broker, broker_of
from zmtwist.config.toml import ConfigError, parse
from zmtwist.fleet.process.state import State
from zmtwist.notifications import EventClosed, EventOpened
from zmtwist.ops.mqtt.messages import Message, Topics
from zmtwist.ops.mqtt.outbox import Outbox
from zmtwist.ops.mqtt.publisher import ALARM_US, RECORDING_US, UPDATE_US, Teller, discovering

TOPICS = Topics("home/zmnext")
NAMES = {3: "Front door", 4: 'Gard/en +#"\u00e9'}


def teller(*, discovery: bool = False) -> Teller:
    return Teller(TOPICS, discovering(TOPICS, "homeassistant", on=discovery) if discovery else lambda *_: {})


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("mqtt://localhost", Broker("localhost", 1883)),
        ("MQTTS://[::1]/", Broker("::1", 8883, tls=True)),
        ("mqtt://me:p%40ss%2F@10.0.0.1:2000", Broker("10.0.0.1", 2000, username="me", password="p@ss/")),
    ],
)
def test_a_url(url: str, broker: Broker) -> None:
    assert broker_of(url) == broker
    assert "p@ss" not in f"{broker} {broker!r}"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("tcp://hush:hush@localhost", "must begin with mqtt:// or mqtts://"),
        ("mqtt://", "needs a host"),
        ("mqtt://localhost:0", "needs a host"),
        ("mqtt://localhost:hush", "make no sense"),
        ("mqtt://a..b", "make no sense"),
        ("mqtt://me:hush/hush@localhost", "make no sense"),
        ("mqtt://localhost/hush", "[mqtt] topic is a key of its own"),
        ("mqtt://:hush@localhost", "without a user"),
    ],
)
def test_a_url_that_makes_no_sense_is_told_without_quoting_it(url: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f'mqtt.url = "{url}"', where="zmnext.toml")
    assert why in str(caught.value)
    assert str(caught.value).startswith("zmnext.toml: mqtt.url: ")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("topic", ["/a", "a/", "a/+/b", "a#", "$SYS", "a" * 2000])
def test_topics_that_can_not_be_published_to(topic: str) -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.topic: must "):
        parse(f'mqtt.topic = "{topic}"')


def test_the_password_is_in_no_repr() -> None:
    assert "hush" not in repr(parse('mqtt.url = "mqtt://me:hush@localhost"'))


@settings(max_examples=settings.default.max_examples // 2)
@given(st.integers(1, 2**32), st.text())
def test_the_monitor_of_a_topic(monitor_id: int, other: str) -> None:
    assert TOPICS.monitor_of(TOPICS.state(monitor_id)) == monitor_id
    found = TOPICS.monitor_of(other)
    assert found is None or TOPICS.state(found) == other


def test_a_topic_with_a_number_that_is_no_monitors() -> None:
    for number in ("9" * 5000, "007", "+7", "\u0667"):
        assert TOPICS.monitor_of(f"{TOPICS.base}/monitors/{number}/state") is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))), st.integers(1, 5))
def test_an_outbox_keeps_the_latest_state_and_the_newest_happenings(puts: list[tuple[bool, int]], most: int) -> None:
    outbox = Outbox(most)
    messages = [Message(f"t/{n}" if keep else "t", b"%d" % i, keep) for i, (keep, n) in enumerate(puts)]
    for message in messages:
        outbox.put(message)
    taken = [outbox.take() for _ in range(len(outbox))]
    assert outbox.take() is None
    others = [m for m in messages if not m.retain]
    latest = {m.topic: m for m in messages if m.retain}
    assert taken[: len(latest)] == [latest[topic] for topic in latest]
    assert taken[len(latest) :] == others[-most:]
    assert outbox.dropped == max(0, len(others) - most)


def test_an_event_from_its_beginning_to_its_end() -> None:
    told = teller()
    new = told.hear(EventOpened(3, 7, START, "Motion"), NAMES, START + SECOND)
    assert new is not None
    assert (new.topic, new.retain) == ("home/zmnext/monitors/3/event", False)
    begun = {
        "type": "new",
        "monitor_id": 3,
        "monitor": "Front door",
        "event_id": 7,
        "cause": "Motion",
        "start": "2023-11-14T22:13:20.000Z",
        "labels": [],
        "alarm_frames": 0,
        "max_score": 0,
        "length_seconds": None,
        "frames": None,
        "clip": None,
        "at": "2023-11-14T22:13:21.000Z",
    }
    assert decoded(new) == begun

    def updates(now_us: int, **more: object) -> list[dict[str, object]]:
        event = open_event(7, **{"cause": "Motion", **more})  # type: ignore[arg-type]
        return [decoded(m) for m in told.look([], [event], NAMES, now_us)]

    now = START + SECOND + UPDATE_US
    assert updates(now) == []  # nothing new
    (update,) = updates(now, alarms=4, labels=("person",), cause="Motion: person")
    assert (update["type"], update["cause"], update["labels"]) == ("update", "Motion: person", ["person"])
    assert (update["alarm_frames"], update["max_score"], update["start"]) == (4, 50, begun["start"])
    assert updates(now + 1, alarms=5) == []  # too soon
    assert len(updates(now + UPDATE_US, alarms=5)) == 1
    end = told.hear(
        EventClosed(3, 7, 12_345_678, 120, 9, "/a.mkv", 61, "Motion: person, dog", ("person", "dog")), NAMES, now
    )
    assert end is not None
    assert decoded(end).keys() == begun.keys()
    assert decoded(end) | {"at": None} == begun | {
        "type": "end",
        "cause": "Motion: person, dog",
        "labels": ["person", "dog"],
        "alarm_frames": 9,
        "max_score": 61,
        "length_seconds": 12.346,
        "frames": 120,
        "clip": True,
        "at": None,
    }


def test_an_event_that_began_before_this_run() -> None:
    told = teller()
    assert list(told.look([], [open_event(7)], NAMES, START)) == []
    (update,) = told.look([], [open_event(7, alarms=1)], NAMES, START + UPDATE_US)
    assert decoded(update)["type"] == "update"
    end = teller().hear(EventClosed(3, 8, 1, 1, 0, None), {}, START)
    assert end is not None
    assert {k: decoded(end)[k] for k in ("cause", "start", "clip")} == {"cause": None, "start": None, "clip": False}


def test_how_a_monitor_is() -> None:
    told, now = teller(), START + 60 * SECOND

    def states(at: int, *events: object, state: State = State.LIVE) -> list[dict[str, object]]:
        return [decoded(m) for m in told.look([worker(3, state, "rtsp://me:hush@cam/")], events, NAMES, at)]  # type: ignore[arg-type]

    (first,) = states(now)
    assert first == {
        "monitor_id": 3,
        "name": "Front door",
        "state": "LIVE",
        "reason": "rtsp://***@cam/",
        "since": "2023-11-14T22:13:20.000Z",
        "recording": False,
        "alarm": False,
        "event_id": None,
        "not_recording": None,
    }
    assert states(now) == []
    (recording,) = states(now, open_event(None))  # its row waits for the database
    assert (recording["recording"], recording["event_id"]) == (True, None)
    (alarm,) = states(now, open_event(7, active_us=now))
    assert (alarm["alarm"], alarm["event_id"]) == (True, 7)
    (calm,) = states(now + ALARM_US, open_event(7, active_us=now))
    assert (calm["recording"], calm["alarm"]) == (True, False)
    between = now + ALARM_US + RECORDING_US - 1
    (segment,) = states(between)
    assert (segment["recording"], segment["event_id"]) == (True, None)
    (over,) = states(between + 1)
    assert over["recording"] is False
    (clipless,) = states(between + SECOND, open_event(8, records=False, active_us=between))
    assert (clipless["recording"], clipless["alarm"]) == (False, True)
    (held,) = states(between + SECOND, open_event(8, records=False, active_us=between), state=State.HELD)
    assert held["state"] == "HELD"


def test_everything_is_told_again_after_a_new_connection_and_what_is_gone_is_forgotten() -> None:
    told = teller(discovery=True)
    first = {m.topic: m for m in told.look([worker(3), worker(4)], [], NAMES, START)}
    assert len(first) == 10
    assert all(m.retain for m in first.values())
    assert list(told.look([worker(3), worker(4)], [], NAMES, START)) == []
    told.connected()
    assert {m.topic: m for m in told.look([worker(3), worker(4)], [], NAMES, START)} == first
    gone = {m.topic: m.payload for m in told.look([worker(3)], [], NAMES, START)}
    assert gone == dict.fromkeys((topic for topic in first if "/4/" in topic or "_4/" in topic), b"")
    told.kept(TOPICS.state(3))  # ours
    told.kept(TOPICS.state(9))  # an earlier run's
    told.kept("home/zmnext/monitors/x/state")
    stale = {m.topic: m.payload for m in told.look([worker(3)], [], NAMES, START)}
    assert set(stale.values()) == {b""}
    assert sorted(stale) == [
        "home/zmnext/monitors/9/state",
        "homeassistant/binary_sensor/home_zmnext_9/alarm/config",
        "homeassistant/binary_sensor/home_zmnext_9/not_recording/config",
        "homeassistant/binary_sensor/home_zmnext_9/recording/config",
        "homeassistant/sensor/home_zmnext_9/state/config",
    ]


def test_discovery_that_was_switched_off_takes_back_what_it_left() -> None:
    told = Teller(TOPICS, discovering(TOPICS, "homeassistant", on=False))
    payloads = {m.topic: m.payload for m in told.look([worker(3)], [], NAMES, START)}
    assert sorted(topic for topic, payload in payloads.items() if not payload) == [
        "homeassistant/binary_sensor/home_zmnext_3/alarm/config",
        "homeassistant/binary_sensor/home_zmnext_3/not_recording/config",
        "homeassistant/binary_sensor/home_zmnext_3/recording/config",
        "homeassistant/sensor/home_zmnext_3/state/config",
    ]


def test_what_home_assistant_is_told() -> None:
    told = teller(discovery=True)
    messages = {m.topic: decoded(m) for m in told.look([worker(4)], [], NAMES, START)}
    state = messages.pop(TOPICS.state(4))
    assert state["name"] == NAMES[4]  # as it is
    assert len({config["unique_id"] for config in messages.values()}) == 4
    for topic, config in messages.items():
        prefix, component, node, part, last = topic.split("/")
        assert (prefix, last) == ("homeassistant", "config")
        assert re.fullmatch("[a-zA-Z0-9_-]+", node)
        assert re.fullmatch("[a-zA-Z0-9_-]+", part)
        # What the MQTT integration requires of these components, of availability, of a device and of an origin.
        assert config["state_topic"] == TOPICS.state(4)
        assert config["unique_id"] == f"{node}_{part}"
        assert config["availability_topic"] == "home/zmnext/available"
        assert (config["payload_available"], config["payload_not_available"]) == ("online", "offline")
        assert config["device"]["identifiers"] == [node]
        assert config["device"]["name"] == NAMES[4]
        assert config["origin"]["name"] == "zmtwist"
        if component == "sensor":
            assert state["state"] in config["options"]
            assert config["value_template"] == "{{ value_json.state }}"
        else:
            assert component == "binary_sensor"
            assert part in state
            assert config["value_template"] == f"{{{{ 'ON' if value_json.{part} else 'OFF' }}}}"
            assert config["device_class"] in ("motion", "running", "problem")
    renamed = {m.topic: decoded(m) for m in told.look([worker(4)], [], {4: ""}, START)}
    assert {m["device"]["name"] for t, m in renamed.items() if t.endswith("/config")} == {"Monitor 4"}
