"""The fleet under whatever may happen to it: faults, operators, the database and time, in any order."""

from __future__ import annotations

import shutil
import signal
import tempfile
from pathlib import Path

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred

from tests.fleet.doubles import FakeProcess, Stage, wanted
from zmtwist.fleet.process.state import State

IDS = (1, 2, 3)
some_monitor = st.sampled_from(IDS)
seconds = st.sampled_from([0.0, 0.5, 1.0, 7.0, 31.0, 90.0])


class FleetModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="zmtwist-fleet-"))
        self.held: set[int] = set()
        self.kept: set[int] = set()
        self.sick: set[int] = set()
        self.hung: set[int] = set()
        self.connected: set[int] = set()
        self.stage = Stage(self.directory, max_rss_mb=100, overlap=True)
        self.stage.mode = "continuous"

    @initialize(jitter=st.floats(0, 1))
    def begin(self, jitter: float) -> None:
        self.stage.chance = jitter
        self.stage.catalog.put(*(wanted(n) for n in IDS))
        self.stage.fleet.startService()
        self.stage.advance(0.1)

    def teardown(self) -> None:
        self.recover()
        stopped = self.stage.fleet.stopService()
        self.pass_time(2)
        assert stopped.called
        assert self.stage.world.alive() == []
        assert self.stage.world.getDelayedCalls() == []
        shutil.rmtree(self.directory)

    def recover(self) -> None:
        """Once the faults stop, all that is wanted gets LIVE, and stays so; what is held stays held."""
        stage = self.stage
        stage.world.refuse, stage.world.stubborn, stage.catalog.away = None, False, None
        stage.texts.clear()
        stage.binary.chmod(0o755)
        self.sick.clear()
        stage.fleet.reconcile()
        self.pass_time(200)
        for n in IDS:
            if not stage.catalog.rows[n].use_zm_next:
                assert stage.state(n) is None
            else:
                assert stage.state(n) is (State.HELD if n in self.held else State.LIVE), stage.fleet.status()

    def pass_time(self, span: float) -> None:
        """Time in which healthy workers show life every 5 s."""
        end = self.stage.world.seconds() + span
        while self.stage.world.seconds() < end:
            linked = {link.path for link in self.stage.links}
            for process in self.stage.world.alive():
                well = (
                    process.socket in linked
                    and process.monitor_id not in self.sick
                    and process.pid not in self.hung
                    and not (process.frozen or process.killed)
                )
                if well and signal.SIGTERM not in process.signals:
                    self.lives(process)
            self.stage.world.advance(min(1.0, end - self.stage.world.seconds()))

    def lives(self, process: FakeProcess) -> None:
        """It shows life; first that it has connected, then that it has opened a clip."""
        link = self.stage.link_of(process)
        link.observer.linked()
        link.observer.stats()
        if process.pid in self.connected:
            link.observer.media(15.0)
            if not process.records:
                self.stage.opens(process)
        self.connected.add(process.pid)

    @rule(span=seconds)
    def time(self, span: float) -> None:
        self.pass_time(span)

    @rule(span=seconds)
    def the_loop_hangs(self, span: float) -> None:
        self.stage.world.advance(span)

    @rule(n=some_monitor)
    def falls_silent(self, n: int) -> None:
        self.sick.add(n)

    @rule(n=some_monitor)
    def speaks_again(self, n: int) -> None:
        self.sick.discard(n)

    @rule(n=some_monitor)
    def hangs(self, n: int) -> None:
        """This process is beyond help: only another one brings the monitor back."""
        self.hung.update(process.pid for process in self.stage.world.alive(n))

    @rule(n=some_monitor, code=st.sampled_from([0, 1, 4, 5, None]), pipes=st.booleans())
    def exits(self, n: int, code: int | None, pipes: bool) -> None:
        for process in self.stage.world.alive(n):
            process.end(code, None if code is not None else 11, pipes=pipes)

    @rule(fails=st.booleans())
    def spawning(self, fails: bool) -> None:
        self.stage.world.refuse = OSError(12, "Cannot allocate memory") if fails else None

    @rule(there=st.booleans())
    def binary(self, there: bool) -> None:
        self.stage.binary.chmod(0o755 if there else 0o644)

    @rule(stubborn=st.booleans())
    def ignores_sigterm(self, stubborn: bool) -> None:
        self.stage.world.stubborn = stubborn

    @rule(away=st.booleans())
    def database(self, away: bool) -> None:
        self.stage.catalog.away = OSError("away") if away else None

    @rule(n=some_monitor, flag=st.booleans())
    def flag(self, n: int, flag: bool) -> None:
        self.stage.catalog.put(attrs.evolve(self.stage.catalog.rows[n], use_zm_next=flag))

    @rule(n=some_monitor, text=st.sampled_from(["{}", '{"a":1}']))
    def document(self, n: int, text: str) -> None:
        self.stage.texts[n] = text

    @rule(start_again=st.booleans(), record=st.sampled_from(["there", "gone", "broken"]))
    def we_are_killed(self, start_again: bool, record: str) -> None:
        """SIGKILL at any moment, and the next start; perhaps before the record of some worker was written."""
        self.stage.world.die()
        if record != "there":
            for path in (self.directory / "run").glob("worker_*.json"):
                path.unlink() if record == "gone" else path.write_text("{")
        self.start_again(start_again)

    @rule(start_again=st.booleans())
    def hands_over(self, start_again: bool) -> None:
        assert self.stage.fleet.leave().called
        self.stage.world.die()
        self.start_again(start_again)

    def start_again(self, at_once: bool) -> None:
        if not at_once:
            self.pass_time(7)
        self.held = set(self.kept)
        self.stage.fleet = self.stage.new_fleet()
        self.stage.fleet.startService()

    @rule(n=some_monitor)
    def grows(self, n: int) -> None:
        """Beyond what is allowed: it is recycled at the end of a clip."""
        self.stage.world.resident.update((process.pid, 2**30) for process in self.stage.world.alive(n))

    @rule(n=some_monitor, open_clip=st.booleans())
    def records(self, n: int, open_clip: bool) -> None:
        """Whether a clip is open when somebody next asks for its end; then it never ends."""
        if open_clip:
            self.stage.sink.open_clips[n] = Deferred()
        else:
            self.stage.sink.open_clips.pop(n, None)

    @rule()
    def reconcile(self) -> None:
        self.stage.fleet.reconcile()

    def known(self, n: int) -> bool:
        return self.stage.state(n) is not None

    @precondition(lambda self: any(map(self.known, IDS)))
    @rule(n=some_monitor, verb=st.sampled_from(["start", "stop", "restart", "hold", "release"]))
    def operator(self, n: int, verb: str) -> None:
        if not self.known(n):
            return
        getattr(self.stage.fleet, verb)(n)
        if verb in ("stop", "hold"):
            self.held.add(n)
            if verb == "hold":
                self.kept.add(n)
        elif verb in ("start", "release"):
            self.held.discard(n)
            self.kept.discard(n)

    @invariant()
    def held_ones_are_stopping_or_held(self) -> None:
        for status in self.stage.fleet.status():
            if status.monitor_id in self.held:
                assert status.state in (State.HELD, State.STOPPING)

    @invariant()
    def one_process_that_records_per_monitor_at_most(self) -> None:
        for n in IDS:
            alive = [process for process in self.stage.world.alive(n) if not process.killed]
            assert len([process for process in alive if process.records and not process.frozen]) <= 1
            assert len([process for process in alive if not process.leashed]) <= 1

    @invariant()
    def waits_are_within_bounds_and_told(self) -> None:
        now = self.stage.world.wall()
        for status in self.stage.fleet.status():
            waits = status.state in (State.BACKOFF, State.FATAL)
            if waits:
                assert status.next_start_us is not None
                whole = status.next_start_us - status.since_us
                assert 0.8e6 - 1 <= whole <= 72e6 + 1
                assert status.next_start_us >= now - 1
            if status.state in (State.STOPPED, State.HELD, State.BACKOFF, State.FATAL):
                assert status.pid is None
                assert all(process.killed for process in self.stage.world.alive(status.monitor_id))
            if status.state in (State.LINKED, State.LIVE):
                assert status.pid is not None


FleetModel.TestCase.settings = settings(
    max_examples=settings.default.max_examples * 3 // 5, stateful_step_count=30, deadline=None
)
TestFleetModel = FleetModel.TestCase
