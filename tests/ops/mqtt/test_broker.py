"""The real thing: paho, its thread, and a mosquitto of our own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import capturedLogs

from tests.broker import PASSWORD, Broker, Ear
from tests.ops.mqtt.world import START, Running, worker
from tests.ops.served import free_port
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.config.model import MqttConfig
from zmtwist.fleet.process.state import State
from zmtwist.ops.mqtt import service as service_module
from zmtwist.ops.mqtt.service import MqttService

ROOT = Path(__file__).parents[3]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "mosquitto")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def ear(broker: Broker) -> Iterator[Ear]:
    ear = Ear(broker)
    yield ear
    ear.close()


def service(url: str, running: Any) -> MqttService:
    made = MqttService(reactor, MqttConfig(url=url), running, wall=lambda: START)
    made.startService()
    return made


@pytest_twisted.ensureDeferred
async def test_the_whole_service_from_birth_to_goodbye(tmp_path: Path, broker: Broker, ear: Ear) -> None:
    zm = Installation.make(tmp_path)
    zm.monitor(2, "Mocord", Name="Gard/en #1", SectionLength=600)
    events, states = (lambda: ear.of("zmnext/monitors/2/event")), (lambda: ear.of("zmnext/monitors/2/state"))

    def in_full_swing() -> bool:
        now = states()[-1] if states() else {"event_id": None}
        return bool(now["event_id"]) and (now["state"], now["recording"], now["alarm"]) == ("LIVE", True, True)

    with capturedLogs() as logs:
        whole = zm.service(
            f'[mqtt]\nurl = "{broker.url}"', tuning={"ZM_CORE_SIM": "light,first=0.5,present=9,period=9"}
        )
        whole.startService()
        try:
            await until(in_full_swing)
            await until(lambda: any(event["alarm_frames"] for event in events()))
        finally:
            await whole.stopService()
    await until(lambda: ear.payloads("zmnext/available")[-1:] == [b"offline"])
    assert {message.qos for message in ear.heard} == {1}
    assert ear.payloads("zmnext/available") == [b"online", b"offline"]  # a goodbye, and no will after it
    (row,) = zm.events()
    assert [event["type"] for event in events()] == ["new", *["update"] * (len(events()) - 2), "end"]
    assert {(event["event_id"], event["monitor"]) for event in events()} == {(row["Id"], "Gard/en #1")}
    end = events()[-1]
    assert (end["cause"], end["frames"]) == (row["Cause"], row["Frames"])
    assert (end["alarm_frames"], end["max_score"]) == (row["AlarmFrames"], row["MaxScore"])
    assert end["labels"]
    assert row["Cause"].endswith(f": {', '.join(end['labels'])}")
    assert states()[-1]["state"] == "STOPPED"
    entities = [m for m in ear.heard if m.topic.startswith("homeassistant/")]
    assert {m.json["device"]["name"] for m in entities} == {"Gard/en #1"}
    assert len({m.json["unique_id"] for m in entities}) == 4
    assert PASSWORD not in repr(logs)


@pytest_twisted.ensureDeferred
async def test_a_killed_service_is_told_to_be_gone_and_the_next_one_clears_up(broker: Broker, ear: Ear) -> None:
    process = subprocess.Popen([sys.executable, "-m", "tests.ops.mqtt.killed", broker.url], cwd=ROOT)
    try:
        await until(lambda: ear.of("zmnext/monitors/3/state"))
        assert ear.payloads("zmnext/available") == [b"online"]
    finally:
        process.kill()
        process.wait()
    await until(lambda: ear.payloads("zmnext/available") == [b"online", b"offline"])
    again = service(broker.url, Running([worker(4)]))
    try:
        await until(lambda: ear.payloads("zmnext/monitors/3/state")[-1] == b"")
        await until(lambda: [m for m in ear.heard if "zmnext_3/" in m.topic][-1].payload == b"")
        assert ear.payloads("zmnext/available")[-1] == b"online"
    finally:
        await again.stopService()


@pytest_twisted.ensureDeferred
async def test_a_broker_that_comes_back_is_told_everything_anew(broker: Broker) -> None:
    running = Running([worker(3)], names={3: "Front"})
    with capturedLogs() as logs:
        mqtt = service(broker.url, running)
        try:
            await until(lambda: mqtt._up)
            broker.stop()
            await until(lambda: not mqtt._up)
            running.workers = [worker(3, State.BACKOFF)]
            broker.start()
            ear = Ear(broker)
            await until(lambda: ear.of("zmnext/monitors/3/state"))
            assert ear.payloads("zmnext/available")[-1] == b"online"
            assert ear.of("zmnext/monitors/3/state")[-1]["state"] == "BACKOFF"
            await until(lambda: "homeassistant/sensor/zmnext_3/state/config" in {m.topic for m in ear.heard})
        finally:
            await mqtt.stopService()
            ear.close()
    told = [event["log_format"] for event in logs if event["log_format"].startswith("MQTT")]
    assert len(told) <= 4  # up, gone, refused while it was away, up
    assert PASSWORD not in repr(logs)


@pytest_twisted.ensureDeferred
async def test_a_broker_that_is_not_there_or_refuses_us_holds_up_nothing(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = f"127.0.0.1:{broker.port}"
    urls = {
        f"mqtt://127.0.0.1:{free_port()}": "refused",
        f"mqtt://zmnext:wrong@{here}": "it refuses us: Not authorized",
        f"mqtts://{here}": "",  # it speaks no TLS there
        "mqtt://no.such.host.invalid": "",
    }
    all_of_them = {service(url, Running([worker(3)])): why for url, why in urls.items()}
    for mqtt, expected in all_of_them.items():
        await until(lambda m=mqtt, e=expected: any(e in why for why in m._troubles))
    monkeypatch.setattr(service_module, "STOP_SECONDS", 60)
    begun = time.monotonic()
    for mqtt in all_of_them:
        await mqtt.stopService()
    assert time.monotonic() - begun < 30


@pytest_twisted.ensureDeferred
async def test_a_broker_is_trusted_over_tls_only_with_a_known_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(tmp_path / "mosquitto", tls=True)
    broker.start()
    try:
        doubtful = service(broker.url, Running([worker(3)]))
        await until(lambda: any("certificate verify failed" in why.lower() for why in doubtful._troubles))
        await doubtful.stopService()
        monkeypatch.setenv("SSL_CERT_FILE", str(broker.certificate))
        known = service(broker.url, Running([worker(3)]))
        await until(lambda: known._up)
        await known.stopService()
    finally:
        broker.stop()
