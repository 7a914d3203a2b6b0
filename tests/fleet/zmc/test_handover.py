"""Cameras taken from ZoneMinder and given back, on a clock: who captures, what the settings are, and what is left after a crash."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from tests.fleet.doubles import Stage, wanted
from tests.fleet.zmc.legacy_world import World
from zmtwist.fleet.process.state import State
from zmtwist.fleet.zmc.handover import WAITS, LeaveAlone
from zmtwist.pipeline.document import Refusal
from zmtwist.pipeline.monitor import Monitor

ON = "Always"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path, *(Monitor(id=n, capturing=ON) for n in (1, 2, 3)))
    made.watch()
    return made


def taken(world: World, *ids: int, set_none: bool = False) -> World:
    world.begin(set_none=set_none)
    world.take(*ids)
    world.run(1)
    assert world.ready == list(ids)
    return world


# Taking.


def test_taking_stops_the_capture_daemon_and_waits_for_its_end(world: World) -> None:
    world.keeper.lingers = 4
    world.begin()
    assert world.take(1) == [WAITS]
    world.run(1)
    assert world.keeper.commands == ["stop;zmc;-m;1"]
    assert world.ready == []
    assert world.take(1) == [WAITS]
    assert world.handover.told(1) == "ZoneMinder's 'zmc -m 1' (process 500) is being stopped first"
    world.run(3)
    assert world.ready == [1]
    assert world.take(1) == [""]
    assert world.handover.told(1) == ""
    assert sorted(world.keeper.running) == ["zmc -m 2", "zmc -m 3"], "nobody else's was touched"


def test_many_are_looked_at_with_one_request(world: World) -> None:
    world.begin()
    world.take(1, 2, 3)
    world.run(0.5)
    assert world.keeper.requests.count(b"status") == 1
    world.run(20)
    before = len(world.keeper.requests)
    world.run(60)
    assert set(world.keeper.requests[before:]) == {b"status"}
    assert len(world.keeper.requests) - before == 6, "one every ten seconds, however many monitors there are"


def test_nothing_is_asked_while_nothing_is_taken(world: World) -> None:
    world.begin()
    world.run(60)
    assert world.keeper.requests == []
    assert world.clock.getDelayedCalls() == []


def test_without_zoneminder_there_is_nothing_to_take(world: World) -> None:
    world.absent = True
    world.keeper.running.clear()
    taken(world, 1)
    assert world.handover.told(1) == ""


@pytest.mark.parametrize("how", ["absent", "silent"])
def test_no_worker_beside_a_capture_daemon_that_nobody_can_stop(world: World, how: str) -> None:
    setattr(world, how, True)
    world.begin()
    world.take(1)
    world.run(120)
    assert world.ready == []
    assert "(process 500) captures this camera" in world.handover.told(1)
    world.keeper.running.clear()
    world.run(10)
    assert world.ready == [1], "it is looked again"


@pytest.mark.parametrize(
    ("style", "said"), [("zmdc", "Can't find process"), ("zm-api-old", "ERR;Daemon zmc -m 1 not found")]
)
def test_no_worker_beside_one_that_is_not_zmdcs(world: World, style: str, said: str) -> None:
    world.keeper.style, world.keeper.deaf = style, True
    world.begin()
    world.take(1)
    world.run(20)
    assert world.ready == []
    assert said in world.handover.told(1)


@pytest.mark.parametrize("style", ["zm-api", "zm-api-old"])
def test_zm_api_in_zmdcs_place(world: World, style: str) -> None:
    world.keeper.style, world.keeper.lingers = style, 2
    world.begin()
    world.take(1)
    world.run(5)
    assert world.ready == [1]
    world.handover.keep(set())
    world.run(5)
    assert "zmc -m 1" in world.keeper.running


def test_a_hang_in_the_middle_costs_one_time_out_not_one_each(world: World) -> None:
    world.begin()
    world.take(1, 2, 3)
    world.waiting = Deferred()
    world.run(1)
    world.silent = True
    world.waiting.callback(None)
    world.waiting = None
    world.run(1)
    assert world.keeper.commands == []
    assert world.ready == []
    world.silent = False
    world.run(12)
    assert world.ready == [1, 2, 3]


# What comes back.


def test_one_that_comes_back_is_taken_away_and_told_of(world: World) -> None:
    taken(world, 1)
    world.rows[1] = attrs.evolve(world.rows[1], capturing=None, function="Modect")  # as 1.36 has it
    world.read()
    with capturedLogs() as logs:
        world.run(300, zmwatch=True)
    stops = world.keeper.commands.count("stop;zmc;-m;1") - 1
    assert 2 <= stops <= 5
    assert "while Monitors.Function is not None" in world.handover.told(1)
    warned = [event for event in logs if event["log_level"].name == "warn"]
    assert 2 <= len(warned) <= 7
    assert "set_none" in warned[0]["told"]


def test_what_was_set_to_none_by_hand_stays_away(world: World) -> None:
    taken(world, 1)
    world.rows[1] = attrs.evolve(world.rows[1], capturing="None")
    world.run(300, zmwatch=True)
    assert world.handover.told(1) == ""
    assert world.keeper.commands == ["stop;zmc;-m;1"]


# Giving back.


def test_what_is_needed_no_more_goes_back(world: World) -> None:
    taken(world, 1, 2)
    assert world.kept() == {"1": {}, "2": {}}
    world.handover.keep({2})
    world.run(1)
    assert world.keeper.commands[-1] == "start;zmc;-m;1"
    assert sorted(world.keeper.running) == ["zmc -m 1", "zmc -m 3"]
    assert world.kept() == {"2": {}}
    assert world.handover.told(1) == ""


def test_what_zoneminder_would_not_capture_is_not_started(world: World) -> None:
    taken(world, 1, 2, 3)
    world.rows[1] = attrs.evolve(world.rows[1], capturing="None")
    world.rows[2] = attrs.evolve(world.rows[2], deleted=True)
    del world.rows[3]
    world.read()
    world.handover.keep(set())
    world.run(1)
    assert not any(command.startswith("start") for command in world.keeper.commands)
    assert world.kept() == {}


def test_a_return_that_fails_is_tried_again(world: World) -> None:
    taken(world, 1)
    world.silent = True
    world.handover.keep(set())
    world.run(30)
    assert world.kept() == {"1": {}}
    assert "does not answer" in world.handover.told(1)
    world.silent = False
    world.run(10)
    assert "zmc -m 1" in world.keeper.running
    assert world.kept() == {}


def test_a_zoneminder_that_is_not_running_starts_its_daemons_by_itself(world: World) -> None:
    taken(world, 1)
    world.absent = True
    world.handover.keep(set())
    world.run(1)
    assert world.kept() == {}


def test_wanted_again_while_it_goes_back(world: World) -> None:
    taken(world, 1)
    world.waiting = Deferred()
    world.handover.keep(set())
    world.run(0.5)
    assert world.take(1) != [""], "a capture daemon may just be coming"
    waiting, world.waiting = world.waiting, None
    waiting.callback(None)
    world.run(20)
    assert world.ready == [1, 1]
    assert "zmc -m 1" not in world.keeper.running
    assert world.kept() == {"1": {}}


def test_a_stop_of_the_service_gives_nothing_back_and_asks_nothing_more(world: World) -> None:
    taken(world, 1)
    before = list(world.keeper.requests)
    world.waiting = Deferred()
    world.run(10)
    world.handover.stop()
    world.run(60)
    assert world.keeper.requests == before
    assert world.clock.getDelayedCalls() == []
    assert world.kept() == {"1": {}}


def test_the_next_run_gives_back_what_is_not_wanted_any_more(world: World) -> None:
    taken(world, 1, 2)
    world.handover.stop()
    world.begin()
    world.take(2)
    world.handover.keep({2})
    world.run(2)
    assert sorted(world.keeper.running) == ["zmc -m 1", "zmc -m 3"]
    assert world.kept() == {"2": {}}


# Settings made None.


def test_the_setting_is_none_while_it_is_ours(world: World) -> None:
    taken(world, 1, set_none=True)
    assert [row.capturing for row in world.rows.values()] == ["None", ON, ON]
    assert world.kept() == {"1": {"column": "Capturing", "previous": ON}}
    assert world.read()[1].capturing == ON, "it counts as what it was"
    world.run(300, zmwatch=True)
    assert world.keeper.commands == ["stop;zmc;-m;1"]
    world.handover.keep(set())
    world.run(1)
    assert world.rows[1].capturing == ON
    assert world.keeper.commands[-1] == "start;zmc;-m;1"
    assert world.kept() == {}


def test_on_136_it_is_function(world: World) -> None:
    world.rows[1] = Monitor(id=1, function="Mocord")
    taken(world, 1, set_none=True)
    assert world.rows[1] == Monitor(id=1, function="None")
    assert world.read()[1].function == "Mocord"


def test_a_run_state_that_sets_it_again_is_the_new_wish(world: World) -> None:
    taken(world, 1, set_none=True)
    world.rows[1] = attrs.evolve(world.rows[1], capturing="Ondemand")
    world.watch()
    world.run(11)
    assert world.reconciled == 1, "the daemon that came with it is a sign to read the rows"
    assert world.read()[1].capturing == "Ondemand"
    world.run(1)
    assert world.rows[1].capturing == "None"
    assert world.kept() == {"1": {"column": "Capturing", "previous": "Ondemand"}}


def test_one_that_an_operator_turned_off_is_not_turned_on_at_the_return(world: World) -> None:
    world.rows[1] = attrs.evolve(world.rows[1], capturing="None")
    taken(world, 1, set_none=True)
    world.handover.keep(set())
    world.run(1)
    assert world.rows[1].capturing == "None"
    assert not any(command.startswith("start") for command in world.keeper.commands)


def test_set_none_that_was_switched_off_restores_the_setting(world: World) -> None:
    taken(world, 1, set_none=True)
    world.handover.stop()
    world.begin(set_none=False)
    world.take(1)
    world.handover.keep({1})
    world.run(1)
    assert world.rows[1].capturing == ON
    assert world.kept() == {"1": {}}


def test_no_setting_is_changed_that_could_not_be_written_down(world: World) -> None:
    (world.directory / "legacy.json.new").mkdir()
    world.begin(set_none=True)
    with capturedLogs() as logs:
        world.take(1)
        world.run(3)
    assert world.rows[1].capturing == ON
    assert world.ready == [1], "the recording does not wait for that"
    assert "legacy.json" in logs[0]["trouble"]
    (world.directory / "legacy.json.new").rmdir()
    world.run(10)
    assert world.rows[1].capturing == "None"


def test_a_database_that_is_away_is_tried_again(world: World) -> None:
    world.database_away = True
    taken(world, 1, set_none=True)
    assert world.rows[1].capturing == ON
    world.database_away = False
    world.run(10)
    assert world.rows[1].capturing == "None"
    world.database_away = True
    world.handover.keep(set())
    world.run(30)
    assert "zmc -m 1" not in world.keeper.running, "with None it would end at once"
    world.database_away = False
    world.run(10)
    assert world.rows[1].capturing == ON
    assert "zmc -m 1" in world.keeper.running


def test_a_kept_file_that_makes_no_sense_is_put_aside(world: World) -> None:
    (world.directory / "legacy.json").write_text("{")
    with capturedLogs() as logs:
        taken(world, 1)
    assert "makes no sense" in logs[0]["error"]
    assert (world.directory / "legacy.bad").read_text() == "{"
    assert world.kept() == {"1": {}}


# Killed at any step.


STEPS = 7
"""Written down, set to None, stopped; restored, written down, started, written down."""


def life(world: World) -> None:
    """Taken, used, and then needed no more."""
    world.begin(set_none=True)
    world.take(1)
    world.handover.keep({1})
    world.run(5, zmwatch=True)
    world.handover.keep(set())
    world.run(15, zmwatch=True)


def test_these_are_all_steps(world: World) -> None:
    world.fuse = 100
    life(world)
    assert world.fuse == 100 - STEPS


@pytest.mark.parametrize("wanted_after", [True, False])
@pytest.mark.parametrize("steps", range(STEPS))
def test_killed_at_any_step_the_next_run_mends_it(world: World, steps: int, wanted_after: bool) -> None:
    world.fuse = steps
    life(world)
    assert world.fuse == -1, "it was killed, and did nothing after that"
    world.fuse = None
    for call in world.clock.getDelayedCalls():
        call.cancel()
    # The next run. The operator wants it still, or cleared the flag while we were down.
    world.begin(set_none=True)
    assert world.read()[1].capturing == ON, "whatever the row says"
    if wanted_after:
        world.take(1)
    world.handover.keep({1} if wanted_after else set())
    world.run(20, zmwatch=True)
    if wanted_after:
        assert world.rows[1].capturing == "None"
        assert "zmc -m 1" not in world.keeper.running
        assert world.kept() == {"1": {"column": "Capturing", "previous": ON}}
        world.handover.keep(set())
        world.run(5)
    assert world.rows[1].capturing == ON
    assert "zmc -m 1" in world.keeper.running
    assert world.kept() in ({}, None)


# Within the fleet.


class LegacyStage(Stage):
    """A fleet whose monitors ZoneMinder captures."""

    def __init__(self, directory: Path, *monitors: Monitor, set_none: bool = False) -> None:
        self.zoneminder = World(directory, *monitors)
        super().__init__(directory)
        self.zoneminder.clock = self.world
        self.zoneminder.watch()
        self.catalog.rows = self.zoneminder.rows
        self.fleet._legacy = self.zoneminder.begin(set_none=set_none)


@pytest.fixture
def stage(tmp_path: Path) -> LegacyStage:
    return LegacyStage(tmp_path, wanted(1), Monitor(id=2, capturing=ON))


def reconcile(stage: LegacyStage) -> None:
    assert stage.fleet.reconcile().called
    stage.advance(1)


def test_the_worker_starts_when_the_capture_daemon_has_gone(stage: LegacyStage) -> None:
    stage.zoneminder.keeper.lingers = 6
    stage.fleet.startService()
    stage.advance(2)
    [status] = stage.fleet.status()
    assert (status.state, status.pid) == (State.STOPPED, None)
    assert status.reason == WAITS
    assert status.legacy == "ZoneMinder's 'zmc -m 1' (process 500) is being stopped first"
    stage.fleet.start(1)
    stage.advance(0.5)
    assert stage.world.alive() == [], "not even if an operator asks for it"
    stage.advance(5)
    assert sorted(stage.zoneminder.keeper.running) == ["zmc -m 2"]
    stage.process(1)
    stage.live(1, 30)
    assert stage.state(1) is State.LIVE
    assert stage.fleet.status()[0].legacy == ""


def test_the_capture_daemon_starts_when_the_worker_has_gone(stage: LegacyStage) -> None:
    stage.fleet.startService()
    stage.advance(2)
    stage.world.stubborn = True
    stage.catalog.put(attrs.evolve(stage.catalog.rows[1], use_zm_next=False))
    reconcile(stage)
    stage.advance(10)
    assert "start;zmc;-m;1" not in stage.zoneminder.keeper.commands
    stage.process(1).end(0)
    stage.advance(1)
    assert stage.zoneminder.keeper.commands[-1] == "start;zmc;-m;1"
    assert stage.zoneminder.kept() == {}


def test_one_that_is_refused_is_not_touched_and_one_that_becomes_so_goes_back(stage: LegacyStage) -> None:
    stage.texts[1] = Refusal(1, "no such camera type")
    stage.fleet.startService()
    stage.advance(2)
    assert stage.zoneminder.keeper.requests == []
    del stage.texts[1]
    reconcile(stage)
    stage.process(1)
    stage.texts[1] = Refusal(1, "no such camera type")
    reconcile(stage)
    stage.advance(2)
    assert stage.zoneminder.keeper.commands == ["stop;zmc;-m;1", "start;zmc;-m;1"]


def test_what_is_held_or_out_of_sight_is_not_given_back(stage: LegacyStage) -> None:
    stage.fleet.startService()
    stage.advance(2)
    stage.fleet.hold(1)
    stage.advance(2)
    reconcile(stage)
    assert stage.state(1) is State.HELD
    row = stage.catalog.rows.pop(1)
    stage.catalog.unreadable[1] = "Width makes no sense"
    reconcile(stage)
    assert stage.zoneminder.keeper.commands == ["stop;zmc;-m;1"]
    stage.catalog.unreadable.clear()
    stage.catalog.put(row)
    reconcile(stage)
    stage.fleet.release(1)
    stage.advance(1)
    stage.process(1)


def test_a_stop_of_the_fleet_gives_nothing_back(stage: LegacyStage) -> None:
    stage.fleet.startService()
    stage.advance(2)
    stopped = stage.fleet.stopService()
    stage.advance(5)
    assert stopped.called
    assert stage.zoneminder.keeper.commands == ["stop;zmc;-m;1"]
    assert stage.world.getDelayedCalls() == []


def test_one_that_we_set_to_none_is_still_wanted(tmp_path: Path) -> None:
    stage = LegacyStage(tmp_path, wanted(1), set_none=True)
    stage.fleet.startService()
    stage.advance(2)
    assert stage.catalog.rows[1].capturing == "None"
    process = stage.process(1)
    reconcile(stage)
    assert stage.process(1) is process
    assert process.signals == []


def test_a_revived_daemon_does_not_end_the_recording(stage: LegacyStage) -> None:
    stage.fleet.startService()
    stage.advance(2)
    process = stage.process(1)
    stage.zoneminder.watch()
    stage.live(1, 25)
    assert stage.process(1) is process
    assert "zmwatch" in stage.fleet.status()[0].legacy
    assert "zmc -m 1" not in stage.zoneminder.keeper.running


def test_a_worker_that_runs_already_is_not_stopped_for_a_hand_over(stage: LegacyStage) -> None:
    """As one that outlived our last run, while ZoneMinder has started its own capture."""
    stage.fleet.startService()
    stage.advance(2)
    process = stage.process(1)
    stage.zoneminder.watch()
    stage.zoneminder.keeper.lingers = 4
    stage.fleet._legacy.stop()
    stage.fleet._legacy = stage.zoneminder.begin()
    stage.fleet._legacy.start(stage.fleet._handed_over, stage.fleet.reconcile)
    reconcile(stage)
    assert stage.process(1) is process
    assert "being stopped" in stage.fleet.status()[0].legacy
    stage.live(1, 40)
    assert "zmc -m 1" not in stage.zoneminder.keeper.running
    assert stage.process(1) is process
    assert process.signals == []


def test_left_alone_nothing_is_touched(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert isinstance(stage.fleet._legacy, LeaveAlone)
    stage.catalog.put(wanted(1))
    stage.fleet.startService()
    stage.advance(1)
    stage.process(1)
    assert stage.fleet.status()[0].legacy == ""
