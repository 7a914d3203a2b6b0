"""Children that read media are asked one thing at a time, and cost no more than that one answer, whatever they do."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.media.stand_ins import stand_in
from tests.waiting import until
from zmtwist.media import child as media_child
from zmtwist.media.child import ChildEnded, answers, spawn


@pytest.fixture
def child():
    children = []

    def make(behaviour, clip=None):
        children.append(spawn(reactor, stand_in(behaviour), clip))
        return children[-1]

    yield make
    for one in children:
        one.kill()
        pytest_twisted.blockon(Deferred.fromCoroutine(until(lambda one=one: not one.lives)))


async def failure_of(child, message=b"x", seconds=20.0):
    with pytest.raises(ChildEnded) as caught:
        await child.ask(message, seconds)
    await until(lambda: not child.lives)
    return str(caught.value)


@pytest_twisted.ensureDeferred
async def test_answers_come_whole_however_long_they_are(child):
    one = child("say(asked * 1000)")
    for message in (b"", b"a", b"abc" * 1000):
        assert await one.ask(message, 20) == message * 1000
    one.dismiss()
    await until(lambda: not one.lives)
    assert "has ended" in await failure_of(one)


@pytest_twisted.ensureDeferred
async def test_one_that_hangs_is_ended_in_time(child):
    assert await failure_of(child("time.sleep(100)"), seconds=0.5) == "it took longer than 0.5 s"


@pytest_twisted.ensureDeferred
async def test_one_that_crashes_says_why_if_it_can_without_passwords(child):
    one = child("os.write(2, b'cannot\\nread rtsp://user:secret@camera/')\nos.abort()")
    said = await failure_of(one)
    assert "signal 6" in said and said.endswith(": cannot read rtsp://***@camera/")


@pytest.mark.parametrize(
    "behaviour",
    [
        "say(b'an answer')\nsay(b'and more')\ntime.sleep(100)",
        "os.write(1, bytes([255] * 4))\ntime.sleep(100)",  # 4 GiB are to come
        "while True: os.write(2, bytes(60_000))",
        "say(b'')\nwhile True: os.write(1, bytes(60_000))",
    ],
)
@pytest_twisted.ensureDeferred
async def test_one_that_says_what_nobody_asked_for_is_ended(child, behaviour):
    one = child(behaviour)
    one.ask(b"x", 20).addErrback(lambda failure: failure.trap(ChildEnded))
    await until(lambda: not one.lives)
    assert len(one._heard) <= media_child.LENGTH.size


@pytest_twisted.ensureDeferred
async def test_it_gets_the_open_clip_and_nothing_else_of_ours(child, tmp_path, monkeypatch):
    monkeypatch.setenv("ZM_DB_PASS", "secret")
    (tmp_path / "clip").write_bytes(b"a clip")
    with (tmp_path / "clip").open("rb") as clip:
        one = child(
            "say([os.read(3, 100), sorted(os.listdir('/proc/self/fd'))[:5], 'ZM_DB_PASS' in os.environ])", clip.fileno()
        )
    descriptors = b"\xa10\xa11\xa12\xa13\xa14"  # the last is that of the list itself
    assert await one.ask(b"", 20) == b"\x93\xc4\x06a clip\x95" + descriptors + b"\xc2"


def test_what_can_not_be_started():
    with pytest.raises(ChildEnded, match="can't be started"):
        spawn(Full(), ["/none"])


class Full:
    def spawnProcess(self, *_args, **_options):
        raise OSError(11, "Resource temporarily unavailable")


def test_answers_in_turn_as_far_as_there_are_any():
    argv = stand_in("if asked == b'end': sys.exit()\nsay(asked)")
    assert list(answers(argv, [b"a", b"b", b"end", b"c"], 20)) == [b"a", b"b"]
    assert list(answers(stand_in("time.sleep(100)"), [b"a"], 0.3)) == []
    assert list(answers(["/bin/true"], [b"a"] * 3, 20)) == []
