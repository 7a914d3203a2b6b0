from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

from zmtwist.daemon.sighup import Hangup


class Reactor(MemoryReactorClock):
    def __init__(self) -> None:
        super().__init__()
        self.stopped = 0
        self.from_thread: list[Any] = []

    def callFromThread(self, function: Any, *args: Any, **kwargs: Any) -> None:
        self.from_thread.append(function)

    def stop(self) -> None:
        self.stopped += 1


class Told:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def reloading(self) -> None:
        self.calls.append("reloading")

    def reloaded(self) -> None:
        self.calls.append("reloaded")


class Scene:
    def __init__(self) -> None:
        self.reactor, self.told = Reactor(), Told()
        self.reloads: list[Deferred[None]] = []
        self.hangup = Hangup(self.reactor, self.told, self.reload)  # type: ignore[arg-type]
        self.hangup.startService()

    def reload(self) -> Deferred[None]:
        self.reloads.append(Deferred())
        return self.reloads[-1]

    def hang_up(self) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        for function in self.reactor.from_thread:
            function()
        self.reactor.from_thread.clear()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    before = signal.getsignal(signal.SIGHUP)
    monkeypatch.setattr(os, "isatty", lambda _fd: False)
    yield Scene()
    signal.signal(signal.SIGHUP, before)


def test_a_hangup_reloads_and_the_manager_knows_from_when_until_when(scene: Scene) -> None:
    scene.hang_up()
    assert scene.told.calls == ["reloading"]
    scene.reloads[0].callback(None)
    assert scene.told.calls == ["reloading", "reloaded"]


def test_reloads_come_one_after_the_other(scene: Scene) -> None:
    scene.hang_up()
    scene.hang_up()
    assert len(scene.reloads) == 1
    scene.reloads[0].callback(None)
    assert len(scene.reloads) == 2
    scene.reloads[1].callback(None)
    assert scene.told.calls == ["reloading", "reloaded"] * 2


def test_a_reload_that_fails_is_logged_and_over(scene: Scene) -> None:
    scene.hangup._reload = lambda: fail(RuntimeError("no"))
    with capturedLogs() as logs:
        scene.hang_up()
    assert scene.told.calls == ["reloading", "reloaded"]
    assert any("reload has failed" in (entry["log_format"] or "") for entry in logs)


def test_a_hangup_during_the_end_does_nothing(scene: Scene) -> None:
    scene.hangup.stopService()
    scene.hang_up()
    assert scene.told.calls == []


def test_a_terminal_that_goes_takes_the_service_along_in_order(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda fd: fd == 0)
    scene.hang_up()
    assert scene.reactor.stopped == 1
    assert scene.reloads == []
