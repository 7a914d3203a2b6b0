"""Whatever a camera sends to live view, and however slow the child is that makes MP4 of it: bounded, and over in good order."""

from __future__ import annotations

import time
import tracemalloc

import msgspec
import pytest
from twisted.internet.defer import Deferred

from zmtwist.media.child import ChildEnded
from zmtwist.ops.media.fmp4 import Fragment, Fragmenting, Made, Unit
from zmtwist.ops.media.h26x import MOST_UNITS, START
from zmtwist.ops.media.muxer import LARGEST_UNIT, MOST_WAITING, Muxer
from zmtwist.ops.media.viewer import FRAME_BYTES
from zmtwist.wire.messages import Hello

HELLO = Hello(0, 27, START + b"\x67\x42\xc0\x0c", width=64, height=64)
decode = msgspec.msgpack.Decoder(Unit).decode


class Slow:
    """A child that answers when it is told to."""

    def __init__(self):
        self.asked, self.killed, self._answers = [], False, []

    def ask(self, message, seconds):
        assert not self.killed and len(self.asked) == len(self._answers) - sum(not a.called for a in self._answers)
        self.asked.append(decode(message))
        self._answers.append(Deferred())
        return self._answers[-1]

    def answer(self, answer):
        (waiting,) = (one for one in self._answers if not one.called)
        waiting.callback(answer if isinstance(answer, bytes) else msgspec.msgpack.encode(answer))

    def fail(self):
        self._answers[-1].errback(ChildEnded("signal 11"))

    def kill(self):
        self.killed = True


@pytest.fixture
def muxer():
    child, made, over = Slow(), [], []
    one = Muxer(child, made.append, over.append)
    one.child, one.made, one.over = child, made, over
    return one


def add(muxer, number, *, key=False, payload=b"frame"):
    muxer.add(Unit(payload, number * 40_000, key), HELLO)


def numbers(muxer):
    return [unit.pts_us // 40_000 for unit in muxer.child.asked]


def test_units_go_one_by_one_and_fragments_come_out(muxer):
    add(muxer, 0)  # nobody can begin with it
    for number in range(1, 4):
        add(muxer, number, key=number == 1)
    assert [unit.hello for unit in muxer.child.asked] == [HELLO]
    muxer.child.answer(Made(codec="avc1.1", head=b"head"))
    assert (muxer.kind, muxer.head, muxer.made) == ('video/mp4; codecs="avc1.1"', b"head", [])
    muxer.child.answer(Made(data=b"1", key=True))
    muxer.child.answer(Made(data=b"2"))
    assert muxer.made == [Fragment(b"1", True), Fragment(b"2", False)]
    assert numbers(muxer) == [1, 2, 3]
    assert [unit.hello for unit in muxer.child.asked[1:]] == [None, None]
    assert muxer.missed == 1


def test_while_the_child_is_slow_a_bounded_number_waits_and_the_rest_is_missed_up_to_a_keyframe(muxer):
    large = bytes(LARGEST_UNIT - FRAME_BYTES)
    add(muxer, 0, key=True)
    for number in range(1, 4):
        add(muxer, number, payload=large)  # two of these fit
    add(muxer, 4)
    assert muxer.missed == 4
    add(muxer, 5, key=True)
    add(muxer, 6)
    for _ in range(3):
        muxer.child.answer(Made())
    assert numbers(muxer) == [0, 5, 6]


def test_frames_without_content_take_memory_too(muxer):
    for number in range(2 * MOST_WAITING // FRAME_BYTES):
        add(muxer, number, key=True, payload=b"")
    assert muxer.missed >= MOST_WAITING // FRAME_BYTES - 1


def test_a_unit_that_is_too_large_is_missed_with_all_up_to_a_keyframe(muxer):
    add(muxer, 0, key=True)
    add(muxer, 1, payload=bytes(LARGEST_UNIT + 1))
    add(muxer, 2)
    add(muxer, 3, key=True, payload=bytes(LARGEST_UNIT + 1))
    add(muxer, 4, key=True)
    muxer.child.answer(Made())
    assert numbers(muxer) == [0, 4]
    assert muxer.missed == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xff",
        b"\x80\x80",
        b"\x81\xa4data\xa1x",
        b"\x81\xa4data\xc1",
        bytes(100),
        b"\x81\xa5codec\xa1\xff",
        msgspec.msgpack.encode(Made(codec="\r\nx", head=b"h")),
    ],
)
def test_an_answer_that_makes_no_sense_is_the_end(muxer, answer):
    add(muxer, 0, key=True)
    add(muxer, 1)
    muxer.child.answer(answer)
    (told,) = muxer.over
    assert (told.over, muxer.child.killed, len(muxer.child.asked)) == ("failed", True, 1)
    add(muxer, 2, key=True)
    assert len(muxer.over) == len(muxer.child.asked) == 1


def test_the_childs_end_is_the_end(muxer):
    add(muxer, 0, key=True)
    muxer.child.fail()
    assert muxer.over == [Made(over="failed", why="signal 11")]


def test_what_comes_after_the_close_is_nothing(muxer):
    add(muxer, 0, key=True)
    muxer.close()
    muxer.child.answer(Made(data=b"1", key=True))
    assert (muxer.made, muxer.over, muxer.child.killed) == ([], [], True)


# What the child does with what a hostile camera sends

LENGTHS = Hello(0, 27, bytes.fromhex("0142c00afc e10004 6742c00a 01 0001 68".replace(" ", "")), width=64, height=64)


@pytest.mark.parametrize(
    ("hello", "payload"),
    [
        (HELLO, b"\0\0\1\x65" * (LARGEST_UNIT // 4)),
        (HELLO, b"\0\0\1" * (LARGEST_UNIT // 3)),
        (LENGTHS, b"\1\x65" * (LARGEST_UNIT // 2)),
        (LENGTHS, bytes(LARGEST_UNIT)),
        (LENGTHS, (b"\xff" + b"\0\0\1" * 85) * (LARGEST_UNIT // 256)),
        (HELLO, b"\0\0\1\x65" * (MOST_UNITS + 1)),
        (Hello(0, 27, START + bytes(65_000), width=64, height=64), b"\0\0\1\x65a"),
        (Hello(0, 27, START + b"\0\0\1" * 5_000, width=64, height=64), b"\0\0\1\x65a"),
        (Hello(0, 173, b"\1" + bytes(21) + b"\xff" + b"\0\xff\xff" * 5_000, width=64, height=64), b"\0\0\1\x65a"),
    ],
)
def test_an_access_unit_costs_little_more_than_its_size_however_many_parts_it_has(hello, payload):
    message = msgspec.msgpack.encode(Unit(payload, 0, True, hello))
    child = Fragmenting()
    begun = time.process_time()
    tracemalloc.start()
    try:
        told = msgspec.msgpack.decode(child.answer(message), type=Made)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told.over == "unshowable", told
    assert peak < 4 * len(message) + 5_000_000
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    ("hello", "pts_us"),
    [
        (HELLO, 2**64 - 1),
        (HELLO, 2**63 - 1),
        (Hello(0, 27, HELLO.extradata, width=2**32 - 1, height=2**32 - 1), 0),
        (Hello(0, 27, HELLO.extradata, width=2**31 - 1, height=1), 0),
    ],
)
def test_absurd_numbers_end_in_an_answer(hello, pts_us):
    child = Fragmenting()
    for number in range(3):
        unit = Unit(
            START + b"\x65aaaa", max(0, pts_us - 40_000 * (3 - number)), number == 0, hello if number == 0 else None
        )
        told = msgspec.msgpack.decode(child.answer(msgspec.msgpack.encode(unit)), type=Made)
        assert told.over in ("", "failed", "unshowable")


def test_a_message_that_is_no_unit_ends_in_an_answer():
    assert msgspec.msgpack.decode(Fragmenting().answer(b"\xff"), type=Made).over == "failed"
