"""A storage that hangs: those that record on it wait, and nobody else does."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.task import Clock

from tests.fleet.doubles import Stage, reconcile, wanted
from zmtwist.fleet.process.child import CannotSpawn
from zmtwist.fleet.process.preflight import StorageChecks
from zmtwist.fleet.process.state import State
from zmtwist.pipeline.document import Document, Refusal
from zmtwist.pipeline.monitor import Monitor


@pytest.fixture
def recording(stage: Stage) -> Stage:
    """Monitor 1 records on a storage that hangs, monitor 2 on none."""
    stage.texts[1] = str(stage.directory / "nas")
    stage.storages_hang = True

    def compose(monitor: Monitor) -> Document | Refusal:
        root = stage.texts.get(monitor.id)
        assert not isinstance(root, Refusal)
        return Document(monitor.id, "{}", "continuous", root)

    stage.compose = compose  # type: ignore[method-assign]
    stage.fleet = stage.new_fleet()
    stage.catalog.put(wanted(1), wanted(2))
    stage.fleet.startService()
    return stage


def hangs(stage: Stage) -> str:
    return f"the storage {stage.directory}/nas does not answer: is its server or disk gone?"


def test_it_is_told_and_tried_again_and_other_cameras_run(recording: Stage) -> None:
    recording.advance(4)
    assert recording.state(1) is State.STARTING
    assert recording.process(2).alive
    recording.advance(2)
    assert recording.state(1) is State.BACKOFF
    assert recording.fleet.status()[0].reason == hangs(recording)
    recording.advance(30)
    assert len(recording.hanging) == 1, "a further try asks for no further thread"
    assert recording.fleet.status()[0].reason == hangs(recording)
    assert recording.world.alive(1) == []
    Path(f"{recording.directory}/nas").mkdir()
    recording.storages_answer()
    assert recording.world.alive(1) == [], "that try was given up"
    recording.advance(60)
    assert recording.process(1).alive


def test_one_that_answers_late_but_in_time_is_used(recording: Stage) -> None:
    Path(f"{recording.directory}/nas").mkdir()
    recording.advance(3)
    recording.storages_answer()
    assert recording.process(1).alive
    assert recording.path(1) == ["STARTING"]
    recording.advance(10)
    assert recording.process(1).alive


@pytest.mark.parametrize("order", ["stop", "hold"])
def test_a_start_that_waits_for_it_can_be_called_off(recording: Stage, order: str) -> None:
    Path(f"{recording.directory}/nas").mkdir()
    recording.advance(1)
    getattr(recording.fleet, order)(1)
    assert recording.state(1) is State.HELD
    recording.storages_answer()
    recording.advance(10)
    assert recording.world.alive(1) == []
    recording.fleet.start(1)
    recording.advance(1)
    assert recording.process(1).alive


def test_a_start_anew_while_it_hangs_gives_one_worker(recording: Stage) -> None:
    Path(f"{recording.directory}/nas").mkdir()
    recording.advance(1)
    recording.fleet.stop(1)
    recording.fleet.start(1)
    recording.advance(1)
    recording.storages_answer()
    recording.advance(10)
    assert recording.process(1).alive
    assert len([process for process in recording.world.processes if process.monitor_id == 1]) == 1


@pytest.mark.parametrize("how", ["stopService", "leave"])
def test_the_service_does_not_wait_for_it(recording: Stage, how: str) -> None:
    Path(f"{recording.directory}/nas").mkdir()
    recording.advance(1)
    ended = getattr(recording.fleet, how)()
    recording.advance(3)
    assert ended.called
    recording.storages_answer()
    recording.advance(10)
    assert recording.world.alive(1) == []


def test_another_storage_given_meanwhile_is_looked_at_instead(recording: Stage) -> None:
    recording.advance(1)
    other = recording.directory / "other"
    other.mkdir()
    recording.texts[1] = str(other)
    reconcile(recording)
    Path(f"{recording.directory}/nas").mkdir()
    recording.storages_answer()
    recording.advance(1)
    assert recording.process(1).alive
    other.rmdir()
    recording.process(1).end(0)
    recording.advance(2)
    assert recording.fleet.status()[0].reason == f"the storage {other} is not there: is its disk mounted?"


def test_all_who_ask_share_one_look_and_its_deadline(tmp_path: Path) -> None:
    clock, looks = Clock(), list[Deferred[None]]()

    def on_disk(_function: object) -> Deferred[None]:
        looks.append(Deferred())
        return looks[-1]

    storages = StorageChecks(clock, on_disk)  # type: ignore[arg-type]
    first = storages.look(str(tmp_path))
    clock.advance(3)
    second = storages.look(str(tmp_path))
    other = storages.look("/other")
    assert len(looks) == 2
    looks[1].callback(None)
    assert other.called
    clock.advance(2)
    for answer in (first, second, storages.look(str(tmp_path))):
        failure: object = answer.addErrback(lambda failure: failure.trap(CannotSpawn)).result
        assert failure is CannotSpawn
    looks[0].errback(CannotSpawn("too late"))
    assert not storages.look(str(tmp_path)).called, "a new look"
    assert len(looks) == 3


def test_an_error_of_the_storage_is_a_reason_not_to_start_a_worker_there(tmp_path: Path) -> None:
    def on_disk(_function: object) -> Deferred[None]:
        return fail(OSError(errno.ESTALE, "Stale file handle"))

    storages = StorageChecks(Clock(), on_disk)  # type: ignore[arg-type]
    failure = storages.look(str(tmp_path)).addErrback(lambda failure: failure).result
    assert failure.check(CannotSpawn)
    assert failure.value.reason == f"the storage {tmp_path} can't be looked at: Stale file handle"


def test_one_that_can_not_be_looked_at_is_told_with_what_the_system_says() -> None:
    storages = StorageChecks(Clock(), lambda look: maybeDeferred(look))  # type: ignore[arg-type]
    loop = "/proc/self/fd/../cwd/" + "x/" * 3000
    answer = storages.look(loop)
    failed = []
    answer.addErrback(failed.append)
    (failure,) = failed
    failure.trap(CannotSpawn)
    assert "can't be looked at: File name too long" in str(failure.value)
