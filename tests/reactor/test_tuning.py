from __future__ import annotations

import gc
import sys

from twisted.internet.base import ReactorBase

from zmtwist.reactor.tuning import GARBAGE_THRESHOLDS, SWITCH_SECONDS, keep_time, tune


def test_it_is_set_for_the_process():
    before = sys.getswitchinterval(), gc.get_threshold()
    try:
        tune()
        assert abs(sys.getswitchinterval() - SWITCH_SECONDS) < 1e-6
        assert gc.get_threshold() == GARBAGE_THRESHOLDS
    finally:
        sys.setswitchinterval(before[0])
        gc.set_threshold(*before[1])


def test_timers_go_by_a_clock_that_nobody_sets():
    class Reactor(ReactorBase):
        def installWaker(self):
            pass

        def seconds(self):
            return wall

    wall, running, done = 1_795_000_000.0, 50.0, []
    reactor = Reactor()
    reactor.callLater(10.0, done.append, "before")
    keep_time(reactor, lambda: running)
    reactor.callLater(20.0, done.append, "after")
    wall -= 86_400.0
    for running in (59.9, 60.1, 69.9, 70.1):
        reactor.runUntilCurrent()
        assert done == ["before", "after"][: (running > 60) + (running > 70)]
    assert reactor.seconds() == 70.1
