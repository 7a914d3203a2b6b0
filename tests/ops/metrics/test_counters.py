from __future__ import annotations

from tests.ops.served import transition
from zmtwist.fleet.process.state import State, Transition
from zmtwist.notifications import EventClosed, EventOpened
from zmtwist.ops.metrics.counters import Figures, LastEvent


def test_what_is_counted():
    figures = Figures()
    figures.hear(EventOpened(1, 7, 1000, "Continuous"))
    figures.hear(EventOpened(1, 8, 2000, "Motion"))
    figures.hear(EventClosed(1, 7, 500, 10, 2, None))
    assert figures.of(1).last_event == LastEvent(8, "Motion", 2000)
    figures.hear(EventClosed(1, 8, 600, 20, 3, None))
    assert figures.of(1).last_event == LastEvent(8, "Motion", 2000, 600, 3)
    figures.hear(EventClosed(1, 9, 700, 5, 0, None))  # opened by an earlier run
    assert figures.of(1).last_event == LastEvent(9, "", None, 700, 0)
    figures.hear(transition(1))
    figures.hear(Transition(1, State.LIVE, State.BACKOFF, "exit 1", 0))
    figures.hear(object())
    one = figures.of(1)
    assert (one.opened, one.closed, one.frames, one.alarm_frames, one.failures) == (2, 3, 35, 5, 1)
    assert figures.of(2).opened == 0
