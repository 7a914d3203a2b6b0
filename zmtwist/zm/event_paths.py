"""Directories of events, by the formulas of ZoneMinder's writers and readers (doc/reference/zoneminder.md, Directories). No I/O.

All date parts are local wall time of the very value in Events.StartDateTime: a directory derived from any other is found by no reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from posixpath import join

import attrs

from zmtwist.pipeline.monitor import Monitor, Storage
from zmtwist.zm.event_times import SECOND, local_time

MAX_NAME = 64

CODECS: Mapping[int, str] = {
    7: "mjpeg",
    12: "mpeg4",
    27: "h264",
    139: "vp8",
    167: "vp9",
    173: "hevc",
    196: "vvc",
    225: "av1",
    226: "av1",
}
"""FFmpeg's codec numbers as HELLO gives them, by the names that ZoneMinder's players look for (av1's number differs by FFmpeg's age)."""


@attrs.frozen
class Link:
    """A symbolic link to make: at `path`, with the relative `target`."""

    path: str
    target: str


@attrs.frozen
class EventPlace:
    """An event that has its row, and where its files belong.

    `start_us` is the wall time of the clip's first frame, `start` what StartDateTime says (local, whole seconds). `directory` is absolute
    if `root` is. Beside it a `link` (Deep) or a `marker`, an empty file inside it (Shallow), is to be made. `video_name` is the clip's
    file name, `final_name` what Events.Name becomes at the close.
    """

    event_id: int
    monitor_id: int
    start_us: int
    start: datetime
    storage_id: int
    root: str
    scheme: str
    directory: str
    video_name: str
    final_name: str
    link: Link | None = None
    marker: str | None = None
    codec_wanted: bool = False
    """This version's player looks for the codec in the clip's name, and it was not known yet when the event was opened."""

    @property
    def video_path(self) -> str:
        """Where the clip belongs."""
        return join(self.directory, self.video_name)


def place(
    event_id: int,
    monitor: Monitor,
    start_us: int,
    zone: tzinfo | None,
    *,
    video_name: str,
    final_name: str,
    codec_wanted: bool = False,
) -> EventPlace:
    """The place of an event of `monitor` whose first frame is of `start_us`, in the monitor's storage."""
    storage = monitor.storage
    start = local_time(start_us, zone)
    directory, link, marker = directory_of(storage, monitor.id, event_id, start)
    return EventPlace(
        event_id=event_id,
        monitor_id=monitor.id,
        start_us=start_us,
        start=start,
        storage_id=storage.id,
        root=storage.path,
        scheme=storage.scheme,
        directory=directory,
        video_name=video_name,
        final_name=final_name,
        link=link,
        marker=marker,
        codec_wanted=codec_wanted,
    )


def directory_of(
    storage: Storage, monitor_id: int, event_id: int, start: datetime
) -> tuple[str, Link | None, str | None]:
    """The event's directory, and the link or marker that goes with it. `start` is Events.StartDateTime."""
    base = join(storage.path, str(monitor_id))
    if storage.scheme == "Deep":
        day = join(base, f"{start:%y/%m/%d}")
        leaf = f"{start:%H/%M/%S}"
        return join(day, leaf), Link(path=join(day, f".{event_id}"), target=leaf), None
    if storage.scheme == "Medium":
        return join(base, f"{start:%Y-%m-%d}", str(event_id)), None, None
    directory = join(base, str(event_id))
    return directory, None, join(directory, f".{event_id}")


def video_name(event_id: int, codec_id: int, *, modern: bool) -> str:
    """The clip's file name: newer ZoneMinders look for the codec in it. The worker always writes Matroska, so it is never `.mp4`."""
    codec = CODECS.get(codec_id) if modern else None
    return f"{event_id}-video.{codec}.mkv" if codec else f"{event_id}-video.mkv"


def with_codec(place: EventPlace, codec_id: int) -> EventPlace:
    """The place with the codec in its clip's name, where it is wanted and by now known."""
    if not place.codec_wanted or codec_id not in CODECS:
        return place
    name = video_name(place.event_id, codec_id, modern=True)
    return attrs.evolve(place, video_name=name, codec_wanted=False)


def final_name(
    event_id: int, monitor: Monitor, start_us: int, zone: tzinfo | None, *, modern: bool, event_name: str | None = None
) -> str:
    """What the event is called once it is over: `event_name`, else the monitor's prefix and the id.

    Newer ZoneMinders expand strftime's codes in the prefix, and %N (the monitor's name), %f (hundredths of a second) and %Q (a trigger's
    text, which there is none of here).
    """
    if event_name is not None:
        return event_name[:MAX_NAME]
    prefix = monitor.event_prefix
    if modern and "%" in prefix:
        start = datetime.fromtimestamp(start_us // SECOND, zone)
        own = (
            prefix.replace("%N", monitor.name.replace("%", "%%"))
            .replace("%Q", "")
            .replace("%f", f"{start_us % SECOND // 10_000:02}")
        )
        prefix = start.strftime(own)
    name = str(event_id)
    return prefix[: MAX_NAME - len(name)] + name
