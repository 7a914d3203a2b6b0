"""The service is killed again and again under load; the cameras go on, and rows and clips fit each other after each restart.

`python -m tests.endurance.kills [--kills 100] [--seed N] [--cameras 8]`, or `make endure`. A kill comes at a random moment of the service's
life: among its first steps, in the middle of its recovery, or while it records.
"""

from __future__ import annotations

import argparse
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from tests.conftest import TIME_ZONE
from tests.endurance.host import Host
from tests.mariadb import Server
from zmtwist.recovery.fsck import CannotCheck, check

TUNING = "fps=8,gop=0.5,size=64x48,first=0.3,present=1.2,period=2.8,detect_rate=8"
"""Small, but real video: what recovery reads off a file must be what was recorded. A clip every 2 s or so of each camera."""

EARLY = 0.25
"""The share of kills that come before the service has put right what the kill before left."""


def kill_again_and_again(host: Host, kills: int, seed: int, say: Callable[[str], None] = print) -> None:
    """Do it, and hold what is there in the end against what the cameras noted."""
    chance = random.Random(seed)
    service = host.start_plain()
    for number in range(1, kills + 1):
        early = number > 1 and chance.random() < EARLY
        if not early:
            sound(host)
        moment = chance.uniform(0, 3)
        time.sleep(moment)
        assert service.poll() is None, host.log[-3000:]
        service.kill()
        service.wait()
        say(f"kill {number} of {kills}: {moment:.2f} s after {'the start' if early else 'all was sound'}")
        time.sleep(chance.choice((0, 0, 0, chance.uniform(0, 3))))
        service = host.start_plain()
    sound(host)
    service.terminate()
    service.wait(60)
    assert not (found := wrong(host)), found
    compare(host)
    assert "Traceback" not in host.log
    say(f"{len(host.noted)} clips, each with its event")


def wrong(host: Host) -> list[str]:
    """What `zmnextctl fsck` finds."""
    return [str(one) for one in check(str(host.config), "/nonexistent").wrong]


def left_over(host: Host) -> list[str]:
    """What `fsck` has patience with while cameras record, but what is over soon after a start: events left open, clips not moved in."""
    more = host.rows("SELECT MonitorId FROM Events WHERE EndDateTime IS NULL GROUP BY MonitorId HAVING COUNT(*) > 1")
    finished = host.storage.glob("2*/*.mkv.json")
    return [f"monitor {row[0]}: several open events" for row in more] + [f"{path}: not moved in" for path in finished]


def sound(host: Host) -> None:
    """Wait until the service has all cameras and `fsck` is clean."""
    found: list[str] = []

    def clean() -> bool:
        with suppress(CannotCheck):
            found[:] = wrong(host) + left_over(host)
            return not found
        return False

    host.until(lambda: host.log_of_last.count("LINKED -> LIVE") >= host.cameras, "all cameras are live", 90)
    try:
        host.until(clean, "fsck is clean", 90)
    except AssertionError as error:
        raise AssertionError(f"{error}\nfsck finds: {found}") from None


def compare(host: Host) -> None:
    """Each clip that a camera noted has one event with its frames, and there is no other event."""
    noted = {inode: (monitor_id, frames) for monitor_id, inode, frames, _ in host.noted}
    assert len(noted) == len(host.noted)
    rows = host.rows("SELECT Id, MonitorId, StartDateTime, EndDateTime, DefaultVideo, Frames FROM Events")
    found = {}
    for event_id, monitor_id, start, end, video, frames in rows:
        assert end is not None, f"event {event_id} is open"
        assert video, f"event {event_id} has no clip"
        clip = host.storage / str(monitor_id) / f"{start:%Y-%m-%d}" / str(event_id) / video
        inode = clip.stat().st_ino
        assert inode not in found, f"events {event_id} and {found[inode]} have the same clip"
        found[inode] = event_id
        assert noted.get(inode) == (monitor_id, frames), f"event {event_id}: {frames} frames, noted {noted.get(inode)}"
    assert noted.keys() == found.keys(), [line for line in host.noted if line[1] not in found]
    clips = sorted(host.storage.rglob("*.mkv"))
    assert len(clips) == len(found), "clips without an event"
    recount = Counter(row[1] for row in rows)
    assert dict(host.rows("SELECT MonitorId, TotalEvents FROM Event_Summaries")) == recount
    frames = host.rows("SELECT EventId, FrameId FROM Frames GROUP BY EventId, FrameId HAVING COUNT(*) > 1")
    assert frames == [], "frames that are there twice"


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills the service under load.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--cameras", type=int, default=8)
    options = parser.parse_args()
    print(f"seed {options.seed}: --seed {options.seed} --kills {options.kills} takes the same moments", flush=True)
    server = Server(time_zone=TIME_ZONE).create()
    try:
        with Host(server, cameras=options.cameras, tuning=TUNING, noting=True).kept_on_failure() as host:
            kill_again_and_again(host, options.kills, options.seed, lambda text: print(text, flush=True))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
