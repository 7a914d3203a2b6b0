"""The whole service with cameras over RTSP that go away and come back: the stand-in then does all that a real worker was seen to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from tests.service_case import Installation
from tests.waiting import until
from zmtwist.fleet.process.state import State
from zmtwist.service import ZmNext

NO_DETECTOR = "[zmnext.pipeline]\ndetect = false"
TUNING = "light,fps=10,gop=0.5,media_bytes=60000,dial,uptime=3600"
"""The recorder would refuse frames for an hour after a reconnect; and of what it takes the disk hears every second."""


class Camera(Factory):
    """What listens at a camera's address; a worker that is connected to it has frames while it says so."""

    def __init__(self) -> None:
        self.lines: list[Protocol] = []
        self.port: IListeningPort | None = None
        self.number = 0
        self.back()

    def back(self) -> None:
        self.port = reactor.listenTCP(self.number, self, interface="127.0.0.1")
        self.number = self.port.getHost().port

    async def away(self) -> None:
        port, self.port = self.port, None
        if port is not None:
            await port.stopListening()
        for line in self.lines:
            line.transport.abortConnection()

    def say(self, word: bytes) -> None:
        for line in self.lines:
            line.transport.write(word)

    def buildProtocol(self, _address: object) -> Protocol:
        camera = self

        class Line(Protocol):
            def connectionMade(self) -> None:
                camera.lines.append(self)
                self.transport.write(b"1")

            def connectionLost(self, reason: object = None) -> None:
                camera.lines.remove(self)

        return Line()


@pytest.fixture
def zm(tmp_path: Path) -> Installation:
    return Installation.make(tmp_path)


@pytest_twisted.async_yield_fixture
async def camera() -> AsyncIterator[Camera]:
    made = Camera()
    yield made
    await made.away()


def state(service: ZmNext) -> State:
    (status,) = service.fleet.status()
    return status.state


def recorded(zm: Installation) -> int:
    return sum(path.stat().st_size for path in zm.storage.rglob("*.mkv"))


@pytest_twisted.ensureDeferred
async def test_a_camera_that_was_away_is_recorded_again_when_it_answers(zm: Installation, camera: Camera) -> None:
    zm.monitor(1, Type="Ffmpeg", Path=f"rtsp://127.0.0.1:{camera.number}/live", SectionLength=600)
    service = zm.service(NO_DETECTOR, tuning={"ZM_CORE_SIM": TUNING})
    service.startService()
    try:
        await until(lambda: recorded(zm) > 0)
        await camera.away()
        await until(lambda: state(service) is State.BACKOFF, 4)  # it is not waited for what the worker itself would do
        await until(lambda: zm.events()[0]["EndDateTime"])
        await deferLater(reactor, 2)
        before = recorded(zm)
        camera.back()
        await until(lambda: recorded(zm) > before, 5)
        assert len(zm.events()) == 2
    finally:
        await service.stopService()
    assert all(event["EndDateTime"] for event in zm.events())


@pytest_twisted.ensureDeferred
async def test_a_camera_that_falls_silent_has_its_worker_replaced_though_that_cannot_be_asked_to_end(
    zm: Installation, camera: Camera
) -> None:
    zm.monitor(1, Type="Ffmpeg", Path=f"rtsp://127.0.0.1:{camera.number}/live")
    text = zm.config(NO_DETECTOR, tuning={"ZM_CORE_SIM": f"{TUNING},stats=1"})
    service = zm.service_of(text.replace("[zmnext.worker]", "[zmnext.worker]\nwatchdog_seconds = 2"))
    service.startService()
    try:
        await until(lambda: recorded(zm) > 0)
        first = camera.lines[0]
        camera.say(b"0")
        await until(lambda: first not in camera.lines and state(service) is State.LIVE, 30)
        assert len(zm.events()) == 2
    finally:
        await service.stopService()
