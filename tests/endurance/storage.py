"""A real file system fills up, is made read-only, and is hidden beneath an empty one; each time all goes on by itself afterwards.

`python -m tests.endurance.storage`, or `make endure`. It needs the right to mount (root, and a container that allows it); without, it
says so, and that is all.
"""

from __future__ import annotations

import subprocess
from contextlib import suppress

from tests.conftest import TIME_ZONE
from tests.endurance.host import Host
from tests.mariadb import Server
from zmtwist.recovery.fsck import check

MIB = 1 << 20
TUNING = "fps=10,gop=0.2,size=160x120"


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def unmount(host: Host, *options: str) -> bool:
    """False while a worker still has a file there, or where nothing is mounted."""
    return subprocess.run(["umount", *options, str(host.storage)], check=False, capture_output=True).returncode == 0


def goes_on(host: Host) -> None:
    """The trouble is over, and two more clips are where they should be."""
    host.until(lambda: "storage   " not in host.status(), "the storage is well again")
    [(last,)] = host.rows("SELECT MAX(Id) FROM Events")
    new = f"SELECT COUNT(*) FROM Events WHERE Id > {last} AND EndDateTime > 0 AND DefaultVideo <> ''"
    host.until(lambda: host.rows(new) >= [(2,)], "further clips", 60)


def clips(host: Host) -> set[int]:
    """Their inodes: a clip may be moved, but not go."""
    return {path.stat().st_ino for path in host.storage.rglob("*.mkv")}


def full(host: Host) -> None:
    before, ballast = clips(host), host.storage / "ballast"
    with ballast.open("wb") as file, suppress(OSError):
        while True:
            file.write(bytes(MIB))
    host.until(lambda: f"the storage {host.storage} is full: 0 MiB are left" in host.ctl("why", "1"), "it is told")
    assert "free space" in host.status()
    ballast.unlink()
    goes_on(host)
    assert before <= clips(host)


def read_only(host: Host) -> None:
    """As the kernel makes it when a disk fails; workers that hold files open for writing keep a mount from it, so they are stopped."""
    host.ctl("hold", "1")
    host.ctl("hold", "2")
    host.until(lambda: "2 HELD" in host.status(), "the workers are stopped")
    before = clips(host)
    mount("-o", "remount,ro", str(host.storage))
    host.ctl("release", "1")
    host.ctl("release", "2")
    host.until(lambda: f"the storage {host.storage} is mounted read-only" in host.ctl("why", "1"), "it is told")
    assert "mount it read-write" in host.status()
    mount("-o", "remount,rw", str(host.storage))
    goes_on(host)
    assert before <= clips(host)


def replaced(host: Host) -> None:
    before = clips(host)
    mount("-t", "tmpfs", "-o", "size=80m", "none", str(host.storage))
    host.until(lambda: "another disk than before is mounted" in host.ctl("why", "1"), "it is told")
    host.until(lambda: list(host.storage.rglob("*.mkv")), "clips on the wrong one")
    assert "mount the right one again" in host.status()
    for number in ("1", "2"):
        host.ctl("hold", number)
    host.until(lambda: unmount(host), "the wrong one can be taken away")
    for number in ("1", "2"):
        host.ctl("release", number)
    goes_on(host)
    assert before <= clips(host)


def main() -> None:
    server = Server(time_zone=TIME_ZONE).create()
    try:
        with Host(server, cameras=2, tuning=TUNING).kept_on_failure() as host:
            try:
                mount("-t", "tmpfs", "-o", "size=80m", "none", str(host.storage))
            except (subprocess.CalledProcessError, FileNotFoundError) as error:
                print(f"storage: nothing was tried, for nothing can be mounted here: {error}")
                return
            try:
                try_all(host)
            finally:
                host.stop()
                while unmount(host, "--lazy"):
                    pass
    finally:
        server.remove()


def try_all(host: Host) -> None:
    service = host.start_plain()
    host.until(host.running, "the service")
    goes_on(host)
    for trial in (full, read_only, replaced):
        trial(host)
        print(f"storage {trial.__name__}: told, nothing deleted, and all went on", flush=True)
    service.terminate()
    service.wait(60)
    assert "Traceback" not in host.log, host.log[-5000:]
    assert host.rows("SELECT Id FROM Events WHERE EndDateTime IS NULL") == []
    lost = [str(one) for one in check(str(host.config), str(host.zm_conf)).wrong]
    assert all("is missing or empty" in one for one in lost), lost
    print(f"{len(lost)} events have their clips on the disk that was in the way: fsck tells of them")


if __name__ == "__main__":
    main()
