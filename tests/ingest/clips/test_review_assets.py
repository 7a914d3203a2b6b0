"""Review assets: only what lies in the clip's directory is noted, whatever the worker says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from tests.ingest.places import place_in
from zmtwist.changes import AddData
from zmtwist.ingest.clips.review_assets import AssetsInvalid, Synopses, look
from zmtwist.untrusted.guard import Guard
from zmtwist.wire.event_details import ReviewAssets

MANIFEST = {
    "type": "review_assets", "schema": 1, "monitor_id": 3, "event_id": 7, "path_base": "synopsis", "t_start_us": 5, "t_end_us": 9,
    "plates": [{}], "tubes": [{"track_id": 1, "label": "person"}, {"label": "car"}, {"label": "person"}, "odd"],
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Any:
    made = place_in(tmp_path)
    (Path(made.directory) / "synopsis").mkdir(parents=True)
    manifest(made).write_text(json.dumps(MANIFEST))
    return made


def manifest(place: Any) -> Path:
    return Path(place.directory) / "synopsis" / "manifest.json"


def test_assets_are_noted_as_they_were_told(place):
    told = ReviewAssets(monitor_id=3, event_id=7, tubes=({"label": "dog"},))
    assert json.loads(look(place, told, Guard())) == {
        "type": "review_assets",
        "path": "synopsis/manifest.json",
        "tubes": 1,
        "plates": 0,
        "labels": ["dog"],
    }


def test_what_the_wire_cut_is_read_from_disk(place):
    assert json.loads(look(place, None, Guard())) == {
        "type": "review_assets", "path": "synopsis/manifest.json", "tubes": 4, "plates": 1, "labels": ["person", "car"],
        "t_start_us": 5, "t_end_us": 9,
    }  # fmt: skip


@pytest.mark.parametrize("base", ["../3", "/etc", "a/../../b", "", ".", "x\0y", "a" * 300])
def test_a_base_that_leads_elsewhere_is_refused(place, base):
    with pytest.raises(AssetsInvalid, match="path_base"):
        look(place, ReviewAssets(path_base=base), Guard())


def test_a_link_that_leads_out_is_refused(place, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    manifest(place).parent.rename(elsewhere)
    (Path(place.directory) / "synopsis").symlink_to(elsewhere)
    with pytest.raises(AssetsInvalid, match="leads out"):
        look(place, None, Guard())
    manifest(place).parent.unlink()
    manifest(place).parent.mkdir()
    manifest(place).symlink_to(elsewhere / "manifest.json")
    with pytest.raises(AssetsInvalid, match="leads out"):
        look(place, ReviewAssets(), Guard())
    manifest(place).unlink()
    manifest(place).symlink_to(manifest(place))  # round in a circle
    with pytest.raises(AssetsInvalid, match="there is no"):
        look(place, ReviewAssets(), Guard())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"type":"review_assets","tubes":[', "not readable"),
        (b'{"type":"motion"}', "not readable"),
        (b'{"type":"review_assets","tubes":5}', "not readable"),
        (b'{"type":"review_assets","event_id":8}', "of event 8"),
        (b'{"type":"review_assets","monitor_id":4}', "of monitor 4"),
        (None, "there is no"),
        (b'{"type":"review_assets","tubes":' + b"[" * 5000, "nested too deeply"),
        (b'{"type":"review_assets","tubes":' + b"[" * (2 << 20), "not readable"),
        (b'{"type":"review_assets","schema":"\xff"}', "not readable"),
        (b'{"type":"motion","tubes":[' + b"0," * (1 << 20), "not readable"),
        (b" " * ((16 << 20) + 1), "longer than"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(place, content, reason):
    manifest(place).unlink()
    if content is not None:
        manifest(place).write_bytes(content)
    with pytest.raises(AssetsInvalid, match=reason):
        look(place, None, Guard())


def test_a_large_manifest_is_noted_but_not_counted_and_holds_nothing_up(place):
    samples = ",".join(['{"t_us":123456789,"x":0.25,"y":0.5,"w":0.125,"h":0.0625}'] * 90_000)
    manifest(place).write_text(
        f'{{"type":"review_assets","event_id":7,"t_end_us":9,"tubes":[{{"label":"person","samples":[{samples}]}}]}}'
    )
    assert manifest(place).stat().st_size > 4 << 20
    begun = time.process_time()
    noted = look(place, None, Guard())
    assert time.process_time() - begun < 0.15
    assert json.loads(noted) == {"type": "review_assets", "path": "synopsis/manifest.json", "t_end_us": 9}
    manifest(place).write_text(manifest(place).read_text().replace('"event_id":7', '"event_id":8'))
    with pytest.raises(AssetsInvalid, match="of event 8"):
        look(place, None, Guard())


class Now:
    """A disk that answers at once."""

    def run(self, function: Any, *args: Any) -> Deferred[Any]:
        try:
            return succeed(function(*args))
        except Exception as error:
            return fail(error)


def test_assets_wait_until_their_clip_is_in_its_place(place):
    submitted: list[Any] = []
    synopses = Synopses(
        Now(), lambda monitor_id, changes: submitted.extend(changes), lambda work: Deferred.fromCoroutine(work) and None
    )  # type: ignore[arg-type]
    synopses.told(3, "3.run.1", None, 99)
    assert submitted == []
    synopses.closed("3.run.1", place)
    (noted,) = submitted
    assert isinstance(noted, AddData)
    assert (noted.handle, noted.frame_id, noted.at_us) == ("3.run.1", 1, 99)
    synopses.told(3, "3.run.1", ReviewAssets(path_base=".."), 99)
    synopses.told(3, None, None, 99)
    assert (synopses.noted, synopses.refused, len(submitted)) == (1, 2, 1)
