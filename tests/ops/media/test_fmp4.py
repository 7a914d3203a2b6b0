"""What comes out must be what a player can read: PyAV reads it back."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from itertools import pairwise

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.doubles import CAPTURES
from zmtwist.ops.media.fmp4 import REORDERED, ClockWentBack, Fragmenter, Timeline
from zmtwist.ops.media.h26x import START, Unshowable
from zmtwist.sim.camera import Camera
from zmtwist.wire.frames import FrameDecoder
from zmtwist.wire.messages import Hello, Media

T0 = 1_000_000_000_000


def boxes(data):
    """The names of the boxes at the top level, which must be whole."""
    names, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        names.append(data[at + 4 : at + 8].decode())
        at += size
    assert at == len(data)
    return names


def shown(head, fragments):
    """The times at which a player shows frames (microseconds), and how many of them it can decode."""
    data = head + b"".join(fragment.data for fragment in fragments)
    with av.open(BytesIO(data)) as container:
        stream = container.streams.video[0]
        times = [round(p.pts * stream.time_base * 1_000_000) for p in container.demux(stream) if p.pts is not None]
    with av.open(BytesIO(data)) as container:
        return times, sum(1 for _ in container.decode(video=0))


@pytest.fixture(scope="module")
def frames():
    camera = Camera("yard", (160, 120), 10, 1)
    return camera.hello(), [camera.packet(T0 + n * 100_000 + n % 3 * 7000, 1.0 * n, None) for n in range(25)]


def fragmented(hello, packets):
    fragmenter = Fragmenter(hello, packets[0].data)
    made = [fragmenter.add(packet.data, packet.pts_us, key=packet.keyframe) for packet in packets]
    return fragmenter, [*(fragment for fragment in made if fragment is not None), fragmenter.close()]


def test_a_simulated_camera_frame_by_frame(frames):
    hello, packets = frames
    fragmenter, fragments = fragmented(hello, packets)
    assert fragmenter.codec == "avc1.42c00a"
    assert boxes(fragmenter.head) == ["ftyp", "moov"]
    assert {tuple(boxes(fragment.data)) for fragment in fragments} == {("moof", "mdat")}
    assert [fragment.key for fragment in fragments] == [packet.keyframe for packet in packets]
    times, decoded = shown(fragmenter.head, fragments)
    assert decoded == len(packets)
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert steps == pytest.approx([b.pts_us - a.pts_us for a, b in pairwise(packets)], abs=12)


def test_from_any_keyframe_on(frames):
    """Whoever joins later gets the head and goes on from a keyframe."""
    fragmenter, fragments = fragmented(*frames)
    second = [n for n, fragment in enumerate(fragments) if fragment.key][1]
    times, decoded = shown(fragmenter.head, fragments[second:])
    assert decoded == len(times) == len(fragments) - second


def test_the_real_worker():
    decoder = FrameDecoder()
    messages = decoder.feed((CAPTURES / "continuous.bin").read_bytes())
    hello = next(m for m in messages if isinstance(m, Hello) and m.stream == 0)
    media = [m for m in messages if isinstance(m, Media) and m.stream == 0]
    media = media[next(n for n, m in enumerate(media) if m.keyframe) :]
    fragmenter = Fragmenter(hello, media[0].payload)
    fragments = [fragmenter.add(m.payload, m.pts_us, key=m.keyframe) for m in media]
    times, decoded = shown(fragmenter.head, [fragment for fragment in fragments if fragment is not None])
    assert decoded == len(times) == len(media) - 1
    assert times[-1] - times[0] == pytest.approx(media[-2].pts_us - media[0].pts_us, abs=100)


def test_frames_that_are_shown_in_another_order_than_they_come():
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = 64, 64, "yuv420p"
    codec.time_base, codec.framerate = Fraction(1, 25), Fraction(25)
    codec.options = {"x264-params": "bframes=2:b-adapt=0:keyint=10:annexb=1"}
    packets = []
    for n in range(30):
        frame = av.VideoFrame(64, 64, "yuv420p")
        frame.pts = n
        packets += codec.encode(frame)
    packets += codec.encode(None)
    assert any(b.pts < a.pts for a, b in pairwise(packets))
    fragmenter = Fragmenter(Hello(0, 27, b"", width=64, height=64), bytes(packets[0]))
    fragments = [fragmenter.add(bytes(p), T0 + p.pts * 40_000, key=p.is_keyframe) for p in packets]
    times, decoded = shown(fragmenter.head, [*filter(None, fragments), fragmenter.close()])
    assert decoded == 30
    assert sorted(times) == pytest.approx([min(times) + n * 40_000 for n in range(30)], abs=12)


@given(st.lists(st.integers(0, 10_000_000), min_size=1, max_size=40))
def test_times_to_decode_at_only_rise_and_are_never_after_showing(times):
    timeline, last = Timeline(), None
    for pts in times:
        at = timeline.decode_at(pts)
        if at is not None:
            assert at <= pts and (last is None or at > last)
            last = at


def test_frames_in_order_are_decoded_in_time():
    timeline = Timeline()
    decoded = [timeline.decode_at(n * 100) for n in range(10)]
    assert decoded[REORDERED:] == [n * 100 for n in range(10 - REORDERED)]


def test_a_clock_that_went_back(frames):
    hello, packets = frames
    fragmenter = Fragmenter(hello, packets[0].data)
    for packet in packets[:5]:
        fragmenter.add(packet.data, packet.pts_us, key=packet.keyframe)
    assert fragmenter.add(packets[1].data, 5, key=False) is None
    with pytest.raises(ClockWentBack):
        fragmenter.add(packets[0].data, 5, key=True)


@pytest.mark.parametrize(
    ("hello", "keyframe", "why"),
    [
        (Hello(0, 7, width=64, height=64), b"\xff\xd8", "neither H.264 nor H.265"),
        (Hello(0, 27, START + b"\x67\x42\xc0\x0c"), b"", "size"),
        (Hello(0, 27, b"", width=64, height=64), b"\0\0\0\5\x65aaaa", "parameters"),
        (Hello(0, 27, b"\1\2", width=64, height=64), b"", "parameters"),
    ],
)
def test_what_can_not_be_shown(hello, keyframe, why):
    with pytest.raises(Unshowable, match=why):
        Fragmenter(hello, keyframe)
