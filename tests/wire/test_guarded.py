"""Every text of every message of a worker passes its monitor's guard; what serves to know something by stays what it is, or goes."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from zope.interface.verify import verifyObject

from tests.wire.doubles import KeepingSink
from zmtwist.interfaces import ILinkSink
from zmtwist.untrusted.guard import Guard
from zmtwist.wire.event_details import (
    Detail,
    DetectedObject,
    Detection,
    Face,
    Motion,
    Plate,
    RawDetail,
    RecordingOpening,
    RecordingSaved,
    ReviewAssets,
    Sound,
)
from zmtwist.wire.guarded import GuardedSink, guarded_detail, guarded_event, guarded_response
from zmtwist.wire.messages import Event, Response

SAID = "\x1b[2Jsee rtsp://bob:Quagga7@cam/\nand Quagga7 " + "x" * 5000
GUARD = Guard(["Quagga7"])


def filled(kind: Any) -> Any:
    """A value of this type with `SAID` wherever a text may be."""
    kinds = (kind, *get_args(kind))
    if Any in kinds:
        return ([SAID, {SAID: [SAID]}],)
    for one in kinds:
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            made = one(**{field.name: filled(field.type) for field in msgspec.structs.fields(one)})
            return made if one is kind else (made,)
    if str in kinds:
        return SAID
    if tuple[float, float, float, float] in kinds:
        return (1.0, 2.0, 3.0, 4.0)
    return 1


@pytest.mark.parametrize(
    "kind", [*get_args(Detail), DetectedObject, Sound, Plate, Face], ids=lambda kind: kind.__name__
)
def test_every_text_of_every_message(kind: Any) -> None:
    detail = filled(kind)
    if kind is not Motion and kind not in get_args(Detail)[:1]:
        assert "Quagga7" in str(detail)
    event = guarded_event(Event(0, detail=detail, message=SAID, state_name=SAID), GUARD)
    shown = json.dumps(msgspec.to_builtins(event))
    assert "Quagga7" not in shown
    assert "\\u001b" not in shown
    assert "\\n" not in shown
    assert len(shown) < 20_000


def test_what_says_nothing_untoward_is_handed_on_as_it_is() -> None:
    for detail in (
        Motion(changed=3, pts_usec=5),
        Detection(detections=(DetectedObject("person", 0.9, track_id="t-1"), DetectedObject("car", 0.4, track_id=4))),
        RecordingOpening("3-1795338176-2", "motion"),
        RecordingSaved("/ev/3/2026-11-28/501/501-video.mkv", 501, "continuous", 2.9, 45),
        ReviewAssets(tubes=({"label": "person", "samples": [1, 2.5]},)),
    ):
        event = Event(0x0301, 4, 0, 5, detail)
        assert guarded_event(event, GUARD) == event
    event = Event(0x0301, 4, 0, 5, Detection(detections=(DetectedObject("person", 0.9),)))
    guarded_event(event, GUARD)
    assert guarded_event(event, GUARD) is event, "nothing is made anew for what is said all the time"


def test_a_kind_that_is_not_known_keeps_its_name_only() -> None:
    assert guarded_detail(RawDetail("StreamThing", '{"url":"rtsp://bob:Quagga7@cam"}'), GUARD) == RawDetail(
        "StreamThing"
    )


def test_a_path_or_token_goes_where_it_can_not_stay() -> None:
    assert guarded_detail(RecordingOpening("t-Quagga7"), GUARD) is None
    assert guarded_detail(RecordingOpening("3-1\n4"), GUARD) is None
    saved = guarded_detail(RecordingSaved("/ev/Quagga7.mkv", 5, clip_token="Quagga7"), GUARD)
    assert saved == RecordingSaved("", 5)
    assert guarded_detail(RecordingSaved("/ev/" + "x" * 3000 + ".mkv", 5), GUARD).path.endswith(".mkv")  # type: ignore[union-attr]
    assert guarded_detail(ReviewAssets(path_base="Quagga7", clip_path="/Quagga7"), GUARD) == ReviewAssets(path_base="")


def test_the_workers_own_words_stay_even_where_one_is_a_password() -> None:
    guard = Guard(["motion", "continuous"])
    assert guarded_detail(RecordingOpening("3-1-2", "motion"), guard) == RecordingOpening("3-1-2", "motion")
    assert guarded_detail(RecordingSaved("", 1, "continuous"), guard) == RecordingSaved("", 1, "continuous")
    assert guarded_detail(RecordingOpening("3-1-2", "slow motion"), guard) == RecordingOpening("3-1-2", "slow ***")


def test_an_answer() -> None:
    answer = guarded_response(Response(3, False, SAID, SAID), GUARD)
    assert answer.message == answer.data
    assert answer.message.startswith("[2Jsee rtsp://***@cam/ and *** xxx")
    assert (answer.request_id, answer.ok, len(answer.message)) == (3, False, 300)


def test_the_sink_guards_and_hands_on() -> None:
    kept = KeepingSink()
    sink = GuardedSink(kept, GUARD)
    verifyObject(ILinkSink, sink)
    sink.event(7, Event(1, message=SAID), 5)
    assert "Quagga7" not in repr(vars(kept))
    assert "***" in repr(vars(kept))
