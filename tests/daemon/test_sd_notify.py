from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from twisted.internet.task import Clock

from zmtwist.daemon.sd_notify import (
    COMING_UP_SECONDS,
    LOOK_SECONDS,
    Notifier,
    Notify,
    Standing,
    standing,
    watchdog_seconds,
)
from zmtwist.fleet.process.state import State
from zmtwist.fleet.status import WorkerStatus


@attrs.define
class Manager:
    """The other end: what a service manager has heard."""

    name: str
    socket: socket.socket

    def heard(self) -> list[list[str]]:
        heard = []
        while True:
            try:
                heard.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return heard


@pytest.fixture(params=["a path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify") if request.param == "a path" else f"@zmtwist-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.setblocking(False)
        listening.bind(name.replace("@", "\0"))
        yield Manager(name, listening)


class Scene:
    def __init__(self, environment: dict[str, str]) -> None:
        self.clock = Clock()
        self.now = Standing(False, "starting")
        self.notify = Notify(self.clock, environment, lambda: self.now, stop_seconds=60, monotonic_ns=lambda: 5_000_999)


def test_a_whole_life(manager: Manager) -> None:
    scene = Scene({"NOTIFY_SOCKET": manager.name})
    scene.notify.startService()
    assert manager.heard() == [["STATUS=starting", "EXTEND_TIMEOUT_USEC=30000000"]]
    scene.notify.reloading()
    scene.notify.reloaded()
    assert manager.heard() == []  # READY would be a lie
    scene.clock.advance(LOOK_SECONDS)
    assert manager.heard() == [["EXTEND_TIMEOUT_USEC=30000000"]]
    scene.now = Standing(True, "1 camera:\n1 LIVE")
    scene.clock.advance(COMING_UP_SECONDS)
    assert manager.heard() == [["STATUS=1 camera: 1 LIVE", "READY=1"]]
    scene.now = Standing(True, "1 camera: 1 STALLED")
    scene.clock.pump([LOOK_SECONDS] * 3)
    assert manager.heard() == [["STATUS=1 camera: 1 STALLED"]]
    scene.notify.reloading()
    assert manager.heard() == [["RELOADING=1", "MONOTONIC_USEC=5000"]]
    scene.notify.reloaded()
    assert manager.heard() == [["STATUS=1 camera: 1 STALLED", "READY=1"]]
    assert len(scene.clock.getDelayedCalls()) == 1
    scene.notify.stopService()
    assert manager.heard() == [["STOPPING=1", "STATUS=stopping", "EXTEND_TIMEOUT_USEC=60000000"]]
    scene.notify.reloading()
    assert manager.heard() == []
    assert scene.clock.getDelayedCalls() == []


def test_an_end_before_it_was_up_is_a_start_that_failed(manager: Manager) -> None:
    scene = Scene({"NOTIFY_SOCKET": manager.name})
    scene.notify.startService()
    scene.notify.stopService()
    assert "ERRNO=125" in manager.heard()[-1]


def test_signs_of_life_come_twice_as_often_as_they_must_and_only_while_the_reactor_turns(manager: Manager) -> None:
    scene = Scene({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())})
    scene.notify.startService()
    manager.heard()
    scene.clock.pump([0.5] * 12)
    assert manager.heard().count(["WATCHDOG=1"]) == 4
    scene.clock.advance(60.0)  # it stood still: one late sign, not all that were left out
    assert manager.heard().count(["WATCHDOG=1"]) == 1
    scene.notify.stopService()


def test_a_manager_that_was_deaf_hears_it_later(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    scene = Scene({"NOTIFY_SOCKET": path})
    scene.now = Standing(True, "well")
    scene.notify.startService()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.setblocking(False)
        scene.clock.advance(LOOK_SECONDS)
        assert Manager(path, listening).heard() == [["STATUS=well", "READY=1"]]
        listening.close()
        scene.now = Standing(True, "other")
        scene.clock.advance(LOOK_SECONDS)
    scene.notify.stopService()


def test_a_manager_that_does_not_read_holds_up_nothing(manager: Manager) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": manager.name})
    assert all(notifier.send("WATCHDOG=1") for _ in range(3))
    sent = [notifier.send("WATCHDOG=1") for _ in range(10_000)]
    assert not sent[-1]


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_manager_there_is_nothing_to_do(environment: dict[str, str]) -> None:
    scene = Scene(environment)
    scene.notify.startService()
    assert scene.clock.getDelayedCalls() == []
    scene.notify.stopService()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
        ({}, None),
    ],
)
def test_whether_signs_of_life_are_waited_for(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment, 7) == seconds


def running(*states: State, **given: Any) -> Any:
    workers = [WorkerStatus(n, state, 0, "because") for n, state in enumerate(states)]
    fleet = SimpleNamespace(running=True, status=lambda: workers, catalog_error=given.get("catalog_error"))
    figures = SimpleNamespace(spool=SimpleNamespace(now=given.get("spooled", 0)))
    ingest = SimpleNamespace(writer=SimpleNamespace(figures=figures))
    return SimpleNamespace(fleet=fleet, ingest=ingest, waiting_for=None)


@pytest.mark.parametrize(
    ("service", "ready", "text"),
    [
        (SimpleNamespace(fleet=None, ingest=None, waiting_for=None), False, "starting"),
        (
            SimpleNamespace(fleet=None, ingest=None, waiting_for="no answer from mysql://u:hushhush@h/zm"),
            True,
            "waiting for the database: no answer from mysql://",
        ),
        (running(), True, "0 cameras"),
        (running(State.LIVE), True, "1 camera: 1 LIVE"),
        (running(State.BACKOFF, State.LIVE, State.LIVE), True, "3 cameras: 2 LIVE, 1 BACKOFF"),
        (
            running(State.LIVE, catalog_error="gone away", spooled=12),
            True,
            "1 camera: 1 LIVE; the database can't be read: gone away; 12 changes wait in the spool",
        ),
    ],
)
def test_how_it_goes(service: Any, ready: bool, text: str) -> None:
    told = standing(service)
    assert told.ready is ready
    assert told.text.startswith(text)
    assert "hushhush" not in told.text
