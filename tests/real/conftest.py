from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.trial import Camera, Trial

GSTREAMER = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
PACKAGES = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"


@pytest.fixture(scope="session")
def core() -> Path:
    """The real worker that the trials are for."""
    named = os.environ.get("ZM_CORE")
    if not named:
        pytest.skip("trials of a real worker: name one by ZM_CORE=/path/to/zm-core (README, Trials)")
    found = shutil.which(named)
    assert found is not None, f"ZM_CORE: {named} can't be executed"
    looked = subprocess.run(["/usr/bin/python3", "-c", GSTREAMER], capture_output=True, text=True)
    assert looked.returncode == 0, f"the camera needs Debian's packages {PACKAGES}: {looked.stderr[-300:]}"
    return Path(found).resolve()


@pytest.fixture
def camera(core: Path) -> Iterator[Callable[..., Camera]]:
    """Starts cameras; none outlives the test."""
    running: list[Camera] = []

    def start(*options: str) -> Camera:
        running.append(Camera(*options))
        return running[-1]

    yield start
    for each in running:
        each.end()


@pytest.fixture
def trial(core: Path, tmp_path: Path) -> Iterator[Trial]:
    made = Trial(tmp_path, core)
    yield made
    made.end()
    for ring in made.rings():
        ring.unlink(missing_ok=True)
