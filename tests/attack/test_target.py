"""The service where nobody attacks: what the attacks' bounds are compared with."""

from __future__ import annotations

from signal import SIGTERM

import pytest

from tests.attack.target import GOOD, HOSTILE, Target


@pytest.fixture
def target(tmp_path):
    made = Target(tmp_path)
    yield made
    made.remove()


def test_nobody_attacks(target):
    target.calm()
    figures = target.hold()
    assert len(target.assigned()) >= 14 * len(GOOD)
    assert target.assigned((HOSTILE,))
    print(figures)
    assert target.stop() == -SIGTERM  # as twistd ends, once all is done
    events = target.zm.events()
    assert events
    assert all(target.zm.clip(event).is_file() for event in events)
    assert all(event["EndDateTime"] for event in events)
