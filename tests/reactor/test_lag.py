from __future__ import annotations

from twisted.internet.task import Clock

from zmtwist.reactor.lag import INTERVAL, REMEMBERED, Lag


def test_late_timers_show_and_are_forgotten():
    clock, real = Clock(), [0.0]
    lag = Lag(clock, lambda: real[0])
    lag.start()

    def look(late=0.0):
        real[0] += INTERVAL + late
        clock.advance(INTERVAL)

    look()
    assert (lag.last, lag.longest) == (0.0, 0.0)
    look(0.4)
    look()
    assert (lag.last, round(lag.longest, 6)) == (0.0, 0.4)
    for _ in range(REMEMBERED):
        look()
    assert lag.longest < 1e-6
    lag.stop()
    assert clock.getDelayedCalls() == []


def test_a_clock_that_is_set_is_no_lag():
    clock = Clock()
    lag = Lag(clock, lambda: 0.0)
    lag.start()
    clock.advance(3600)
    assert lag.longest == 0.0
    lag.stop()
