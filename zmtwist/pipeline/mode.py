"""What a monitor records: from `Function` on ZoneMinder 1.36, from `Recording` and `Analysing` since, or as the operator says."""

from __future__ import annotations

from typing import Final

from zmtwist.config.model import Mode, MonitorOverride
from zmtwist.pipeline.document import Unfit
from zmtwist.pipeline.monitor import Monitor

_BY_FUNCTION: Final[dict[str, Mode]] = {
    "none": "none",
    "monitor": "none",
    "record": "continuous",
    "mocord": "both",
    "modect": "event",
    "nodect": "event",
}


def mode_of(monitor: Monitor, override: MonitorOverride | None = None) -> Mode:
    """The recorder's mode; "none" means no recorder.

    A `Recording` of NULL (a column that this database has but nothing fills) leaves the word to `Function`, which newer versions keep
    but no longer read. Raises `Unfit` for a word that no version of ZoneMinder uses: not to record by mistake must be seen.
    """
    if override is not None and override.store_mode is not None:
        return override.store_mode
    if monitor.recording is not None:
        return _by_recording(monitor.recording, monitor.analysing)
    if monitor.function is None:
        return "none"
    if (mode := _BY_FUNCTION.get(monitor.function.lower())) is None:
        raise Unfit(f'its Function is "{monitor.function}", which is none of ZoneMinder\'s')
    return mode


def _by_recording(recording: str, analysing: str | None) -> Mode:
    match recording.lower():
        case "none":
            return "none"
        case "onmotion":
            return "event"
        case "always":
            return "continuous" if (analysing or "None").lower() == "none" else "both"
    raise Unfit(f'its Recording is "{recording}", which is none of ZoneMinder\'s')
