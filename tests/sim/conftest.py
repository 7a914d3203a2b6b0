from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.harness import Sim


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Sim]]:
    """Starts simulators in the test's own folder; none outlives the test."""
    running: list[Sim] = []

    def start(pipeline: dict[str, Any] | bytes, tuning: str = "", **more: Any) -> Sim:
        sim = Sim(tmp_path, pipeline, tuning, **more)
        running.append(sim)
        return sim

    yield start
    for sim in running:
        sim.clean_up()
