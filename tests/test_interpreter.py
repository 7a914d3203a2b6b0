from __future__ import annotations

import gc
import sys

from zmtwist.interpreter import GARBAGE_THRESHOLDS, SWITCH_SECONDS, tune


def test_it_is_set_for_the_process():
    before = sys.getswitchinterval(), gc.get_threshold()
    try:
        tune()
        assert abs(sys.getswitchinterval() - SWITCH_SECONDS) < 1e-6
        assert gc.get_threshold() == GARBAGE_THRESHOLDS
    finally:
        sys.setswitchinterval(before[0])
        gc.set_threshold(*before[1])
