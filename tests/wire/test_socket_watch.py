"""Waiting for a socket: by inotify on a real reactor, by looking on a clock."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.inotify import INotify
from twisted.internet.task import Clock, deferLater

from tests.waiting import until
from zmtwist.wire.socket_watch import CLOSE_INTERVAL, CLOSE_SECONDS, SLOW_INTERVAL, SocketWatch


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="zmw") as short:
        yield Path(short)


@contextmanager
def bound(path: Path) -> Iterator[None]:
    """A socket bound at `path`, as a worker does it: a stale one is unlinked first."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    yield
    made.close()


def notifiers() -> int:
    return sum(isinstance(reader, INotify) for reader in reactor.getReaders())


# On a clock there is no inotify.


def test_looks_closely_for_a_while_and_then_less_often(directory: Path) -> None:
    clock, told = Clock(), []
    watch = SocketWatch(clock, str(directory / "s"), lambda: told.append(clock.seconds()))
    watch.start()
    for _ in range(500):
        clock.advance(CLOSE_INTERVAL)
    with bound(directory / "s"):
        clock.advance(CLOSE_INTERVAL)
        assert told == [pytest.approx(501 * CLOSE_INTERVAL)]
        (directory / "s").unlink()
        clock.pump([CLOSE_INTERVAL] * int(CLOSE_SECONDS / CLOSE_INTERVAL))
    with bound(directory / "s"):
        clock.advance(SLOW_INTERVAL)
        assert len(told) == 2
    assert [call.getTime() - clock.seconds() for call in clock.getDelayedCalls()] == [pytest.approx(SLOW_INTERVAL)]
    watch.stop()
    assert clock.getDelayedCalls() == []


def test_a_socket_is_told_of_once_and_another_one_again_and_files_never(directory: Path) -> None:
    clock, told = Clock(), []
    path = directory / "s"
    watch = SocketWatch(clock, str(path), lambda: told.append(clock.seconds()))
    path.write_text("no socket")
    watch.start()
    assert told == []
    clock.advance(0)
    assert told == []
    with bound(path):
        clock.pump([CLOSE_INTERVAL] * 9)
        assert len(told) == 1
        watch.stop()
        watch.start()
        clock.pump([CLOSE_INTERVAL] * 9)
        assert len(told) == 1, "the same socket is no news after a pause"
        time.sleep(0.005)  # a file system's clock ticks some hundred times a second
        with bound(path):
            clock.pump([CLOSE_INTERVAL] * 9)
            assert len(told) == 2
    watch.stop()
    watch.stop()
    assert clock.getDelayedCalls() == []


def test_one_who_raises_or_stops_another_does_not_disturb_the_rest(directory: Path) -> None:
    clock, told = Clock(), []
    path = str(directory / "s")

    def fail() -> None:
        raise RuntimeError("from a watcher")

    first, second = SocketWatch(clock, path, fail), SocketWatch(clock, path, lambda: third.stop())
    third = SocketWatch(clock, path, lambda: told.append("stopped"))
    fourth = SocketWatch(clock, path, lambda: told.append("fourth"))
    watches = (first, second, third, fourth)
    with bound(directory / "s"):
        for watch in watches:
            watch.start()
        clock.advance(0)
        assert told == ["fourth"]
    for watch in watches:
        watch.stop()
    assert clock.getDelayedCalls() == []


# On a real reactor


@pytest_twisted.ensureDeferred
async def test_inotify_tells_of_binds_and_moves_in_a_directory_made_later_and_made_again(directory: Path) -> None:
    told: list[str] = []
    late = directory / "run" / "zm"
    before = notifiers()
    watches = [SocketWatch(reactor, str(late / name), lambda name=name: told.append(name)) for name in "abc"]
    for watch in watches:
        watch.start()
    for _ in range(2):
        await deferLater(reactor, 0.005)
        late.mkdir(parents=True)
        await until(lambda: notifiers() == before + 1)
        with bound(late / "a"), bound(late / "other"):
            await until(lambda: told == ["a"])
            (late / "other").rename(late / "b")
            await until(lambda: told == ["a", "b"])
        told.clear()
        for name in ("a", "b"):
            (late / name).unlink()
        late.rmdir()
        await until(lambda: notifiers() == before)
    late.mkdir()
    with bound(late / "c"):
        await until(lambda: told == ["c"])
    for watch in watches:
        watch.stop()
    assert notifiers() == before


@pytest_twisted.ensureDeferred
async def test_watches_of_a_directory_share_one_instance_which_goes_with_the_last(directory: Path) -> None:
    before = notifiers()
    watches = [SocketWatch(reactor, str(directory / str(number)), lambda: None) for number in range(300)]
    for watch in watches:
        watch.start()
    await until(lambda: notifiers() == before + 1)
    for watch in watches[:-1]:
        watch.stop()
    assert notifiers() == before + 1
    watches[-1].stop()
    assert notifiers() == before


@pytest_twisted.ensureDeferred
async def test_without_an_instance_left_it_looks_closely(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.internet import inotify

    def none_left(_: object) -> None:
        raise inotify.INotifyError("no instance left")

    monkeypatch.setattr(inotify, "INotify", none_left)
    told: list[float] = []
    watch = SocketWatch(reactor, str(directory / "s"), lambda: told.append(time.perf_counter()))
    watch.start()
    await deferLater(reactor, 0.01)
    with bound(directory / "s"):
        await until(lambda: bool(told))
    watch.stop()
