"""A camera's worker that floods the service over its stream socket, in each way that was once of harm to all cameras."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attack.target import HOSTILE, Target
from zmtwist.wire.encode import encode_event, encode_media
from zmtwist.wire.frames import encode_frame

MIB = 1024 * 1024
DETECTION, SAVED, OPENING, ASSETS = 0x0301, 0x0303, 0x0304, 0x0306


def clip(worker: Any) -> None:
    """A clip of its own, as a good worker opens one, so that what is said is of an event."""
    worker.wait_for_client()
    worker.open()


def flood(worker: Any, messages: Iterator[bytes], seconds: float = 3600.0, at_once: int = 64) -> None:
    """These, as fast as they are taken."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        worker.say(b"".join(itertools.islice(messages, at_once)))
        if not worker.clients:
            time.sleep(0.01)


def said(worker: Any, code: int, detail: Callable[[int], dict[str, Any]]) -> Iterator[bytes]:
    """Events without end, each with the detail of its number."""
    return (worker.event(code, detail(number)) for number in itertools.count(1))


# Numbers that can't be


def jumps(worker: Any) -> None:
    """Each picture's number is 100 million, or two thousand million, above the one before."""
    clip(worker)
    for number in itertools.count(1):
        for step in (0, 1, 100_000_000, 2_000_000_000):
            worker.say(encode_media(0, b"x" * 100, sequence=(number * 100_000_000 + step) % 2**32, pts_us=number))
        time.sleep(0.01)


def far_pts(worker: Any) -> None:
    """Motion whose presentation times lie hours, years and ages apart."""
    clip(worker)
    times = (0, 10**10, 10**15, 2**53, 2**63 - 1, -(2**63), 10**300)
    flood(worker, said(worker, DETECTION, lambda n: {"type": "motion", "changed": n, "pts_usec": times[n % 7] + n}))


# What can't be read


def nonsense(worker: Any) -> None:
    """A detail whose type is a list, ten thousand times a second, and headers that can't be."""
    worker.wait_for_client()
    lists = (worker.event(0, message=json.dumps({"type": [number]})) for number in itertools.count())
    flood(worker, lists, seconds=5)
    while True:
        worker.wait_for_client()
        worker.say(b"\xff" * 24)
        time.sleep(0.001)


def commands(worker: Any) -> None:
    """Commands, subscriptions and audio towards the camera, of 32 MiB each: what only a worker is told."""
    body = b'{"cmd":"a","x":[' + b"[]," * (10 * MIB) + b"[]]}"
    for kind in itertools.cycle((0x11, 0x10, 0x13)):
        worker.wait_for_client()
        worker.say(encode_frame(kind, body[: 32 * MIB - 100]))


def large(worker: Any) -> None:
    """Events, answers and HELLOs of 32 MiB, and structures as deep and numerous as a detail has room for."""
    body = b'{"request_id":1,"x":[' + b"[]," * (10 * MIB)
    deep = b'{"type":"pose","poses":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    wide = b'{"type":"pose","persons":[' + b"[]," * 20_000 + b"[]]}"
    for kind in itertools.cycle((0x06, 0x12, 0x01)):
        worker.wait_for_client()
        worker.say(encode_frame(kind, body[: 32 * MIB - 100]))
        for detail in (deep, wide):
            tlv = b"\x10" + len(detail).to_bytes(2, "little") + detail
            worker.say(encode_frame(0x06, b"\1\3" + tlv, stream=2) * 50)


# More than is taken of one camera


def openings(worker: Any) -> None:
    """Openings of clips that are not there."""
    worker.wait_for_client()
    flood(worker, said(worker, OPENING, lambda n: {"event": "RecordingOpening", "clip_token": f"1-2-{n}"}))


def saves(worker: Any) -> None:
    """Saves of clips that were never opened."""
    worker.wait_for_client()
    flood(
        worker,
        said(
            worker,
            SAVED,
            lambda n: {"event": "EventClip", "path": f"{worker.root}/x{n}.mkv", "duration": 1.0, "frames": 9},
        ),
    )


def motions(worker: Any) -> None:
    """Motion, at ever later times."""
    clip(worker)
    flood(worker, said(worker, DETECTION, lambda n: {"type": "motion", "changed": n, "pts_usec": n * 1_000_000}))


def labels(worker: Any) -> None:
    """Objects that nobody has seen before, hundreds in each picture."""
    clip(worker)

    def detail(number: int) -> dict[str, Any]:
        found = [{"label": f"thing {number} {n}", "confidence": 0.9, "track_id": 300 * number + n} for n in range(300)]
        return {"type": "tracked_detection", "pts_usec": number * 100_000, "detections": found}

    flood(worker, said(worker, DETECTION, detail), at_once=1)


def sentences(worker: Any) -> None:
    """Descriptions of 60,000 characters, each another."""
    clip(worker)
    flood(worker, said(worker, 0x0302, lambda n: {"type": "description", "text": f"{n} " * 10_000}), at_once=1)


def kinds(worker: Any) -> None:
    """Kinds of plugins that are made up."""
    worker.wait_for_client()
    flood(worker, (worker.event(0, message=json.dumps({"type": f"kind {number}"})) for number in itertools.count()))


def assets(worker: Any) -> None:
    """Review assets of a clip."""
    clip(worker)
    flood(
        worker, said(worker, ASSETS, lambda n: {"type": "review_assets", "event_id": 1, "clip_path": "/x", "schema": 1})
    )


def poses(worker: Any) -> None:
    """Shapes as large as a detail has room for, while no clip is open that they could be of."""
    worker.wait_for_client()
    shapes = [[[n, n]] * 40 for n in range(100)]
    flood(worker, said(worker, DETECTION, lambda n: {"type": "pose", "persons": shapes}), at_once=1)


def clocks(worker: Any) -> None:
    """Events whose wall clock is anywhere."""
    clip(worker)
    times = (0, 1, 2**63, 2**64 - 1, 10**15, 1_795_338_650_000_000)
    flood(
        worker,
        (
            encode_event(
                DETECTION, sequence=n, wall_us=(times[n % 6] + n) % 2**64, detail={"type": "motion", "changed": n}
            )
            for n in itertools.count(1)
        ),
    )


ATTACKS = [
    jumps, far_pts, nonsense, commands, large, openings, saves, motions, labels, sentences, kinds, assets, poses, clocks,
]  # fmt: skip

HELD = {openings: "openings", saves: "openings", motions: "rows"}
"""What of some is held back, as the metrics tell."""


def held_back(target: Target, kind: str) -> float:
    """How much of the hostile worker's was left out, as the metrics tell."""
    sample = f'zmnext_monitor_held_back_total{{kind="{kind}",monitor="{HOSTILE}"}} '
    (line,) = (line for line in target.metrics().splitlines() if line.startswith(sample))
    return float(line.rsplit(" ", 1)[1])


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_one_worker_floods_and_the_others_wait_no_longer(tmp_path: Path, attack: Callable[[Any], None]) -> None:
    target = Target(tmp_path, attack)
    try:
        target.until(target.status, "the API answers")
        target.calm()
        figures = target.hold()
        print(attack.__name__, figures)
        assert figures.resident < 400 * MIB
        text = target.metrics()
        assert len(text) < 200_000
        if attack in HELD:
            kind = HELD[attack]
            target.until(lambda: held_back(target, kind) > 0, f"{kind} held back")
            assert f"{kind} were held back" in json.loads(target.get(f"/api/monitors/{HOSTILE}/why")[1])["line"]
        rows = len(target.zm.events()) if attack in (openings, saves) else 0
        assert rows < 1_000
    finally:
        target.remove()
