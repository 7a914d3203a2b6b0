"""Monitor_Status as the console sees it, on a clock."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from zmtwist.fleet.process.state import State, Transition
from zmtwist.fleet.status import WorkerStatus
from zmtwist.ops.monitor_status import REFRESH_SECONDS, Console
from zmtwist.zm.db.errors import Retryable
from zmtwist.zm.write.monitor_status import CameraStatus


class Writer:
    def __init__(self):
        self.written = []
        self.outcome = succeed

    def write(self, cameras):
        self.written.append(list(cameras))
        return self.outcome(None)


class Setting:
    def __init__(self):
        self.clock, self.writer = Clock(), Writer()
        self.states = {1: State.LIVE}
        self.console = Console(self.clock, self.writer, self.workers, lambda: {1: (10.0, 5000.0)})
        self.console.startService()

    def workers(self):
        return [WorkerStatus(n, state, 0, "") for n, state in self.states.items()]

    def change(self, monitor_id, state):
        before = self.states[monitor_id]
        self.states[monitor_id] = state
        self.console.announce(Transition(monitor_id, before, state, "", 0))


def test_live_cameras_are_refreshed_in_time():
    s = Setting()
    s.clock.pump([1] * int(2 * REFRESH_SECONDS))
    assert s.writer.written == [[CameraStatus(1, True, 10.0, 5000.0)]] * 2
    assert REFRESH_SECONDS <= 30


def test_a_camera_that_goes_down_is_told_at_once():
    s = Setting()
    s.change(1, State.STALLED)
    assert [c.connected for c in s.writer.written[-1]] == [False]


def test_a_camera_given_back_is_told_down_once_and_then_left_alone():
    s = Setting()
    s.console.refresh()
    s.states = {}
    s.clock.advance(REFRESH_SECONDS)
    s.clock.advance(REFRESH_SECONDS)
    assert s.writer.written[1:] == [[CameraStatus(1, False)], []]


def test_a_refused_camera_is_never_touched():
    s = Setting()
    s.states = {5: State.STOPPED}
    s.console.refresh()
    assert s.writer.written == [[]]


def test_a_write_under_way_is_followed_by_one_more():
    s = Setting()
    gate = Deferred()
    s.writer.outcome = lambda _: gate
    s.console.refresh()
    s.change(1, State.STALLED)
    s.change(1, State.LIVE)
    assert len(s.writer.written) == 1
    s.writer.outcome = succeed
    gate.callback(None)
    assert len(s.writer.written) == 2


def test_a_database_that_is_away_stops_nothing():
    s = Setting()
    s.writer.outcome = lambda _: fail(Retryable("away"))
    s.clock.pump([1] * int(2 * REFRESH_SECONDS))
    assert len(s.writer.written) == 2


def test_at_the_end_all_are_down():
    s = Setting()
    s.console.refresh()
    s.states = {1: State.HELD}
    stopped = s.console.stopService()
    assert stopped.called
    assert s.writer.written[-1] == [CameraStatus(1, False, 10.0, 5000.0)]
    assert s.clock.getDelayedCalls() == []
