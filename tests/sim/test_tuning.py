from __future__ import annotations

import pytest

from zmtwist.sim.tuning import HELP, BadTuning, Tuning, parse_tuning


def test_nothing_set_gives_a_small_well_behaved_camera() -> None:
    tuning = parse_tuning({}, 3)
    assert tuning == Tuning()
    assert (tuning.fps, tuning.dimensions, tuning.stats) == (10.0, (320, 240), 5.0)
    assert (tuning.exit, tuning.crash_after, tuning.refuse_term, tuning.light) == (None, None, False, False)


def test_a_monitors_own_variable_wins_and_a_bare_key_is_true() -> None:
    environment = {"ZM_CORE_SIM": "light, fps=5,size=640x480", "ZM_CORE_SIM_3": "fps=15,mute=2.5"}
    third, fourth = parse_tuning(environment, 3), parse_tuning(environment, 4)
    assert (third.light, third.fps, third.mute, third.dimensions) == (True, 15.0, 2.5, (640, 480))
    assert (fourth.light, fourth.fps, fourth.mute) == (True, 5.0, None)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("frames=3", "frames"),
        ("fps=fast", "fps"),
        ("fps=0", "fps"),
        ("order=during", "order"),
        ("size=wide", "ZM_CORE_SIM"),
        ("size=321x240", "size"),
        ("size=8x8", "size"),
        ("crash_after=1,crash_by=LOUDLY", "crash_by"),
    ],
)
def test_a_wrong_key_or_value_is_named(value: str, named: str) -> None:
    with pytest.raises(BadTuning, match=named):
        parse_tuning({"ZM_CORE_SIM": value}, 3)


def test_every_key_is_told_of_in_the_help() -> None:
    told = {line.split()[0].partition("=")[0] for line in HELP.splitlines()}
    assert told == set(Tuning.__struct_fields__)
