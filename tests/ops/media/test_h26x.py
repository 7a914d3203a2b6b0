from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmtwist.ops.media.h26x import (
    H264,
    HEVC,
    START,
    Unshowable,
    annex_b,
    browser_name,
    length_size,
    parameter_sets,
    units,
)
from zmtwist.wire.messages import Hello

# Of libx264 and of libx265: the records as MP4 files have them, and the second's parameter sets as they stand in its stream.
AVC = bytes.fromhex("0142c00affe100176742c00ada0a11f961000003000100000300148f1226a001000468ce0fc8")
HVC = bytes.fromhex(
    "0101600000009000000000001ef000fcfdf8f800000f03200001001840010c01ffff01600000030090000003000003001e959809210001002742010101600000"
    "030090000003000003001ea020810596566924cae68080000003008000000c8422000100074401c172b42240"
)


def hello(codec_id, extradata=b""):
    return Hello(0, codec_id, extradata, width=64, height=64)


@pytest.mark.parametrize(
    ("codec_id", "record", "name", "kinds"),
    [(H264, AVC, "avc1.42c00a", [0x67, 0x68]), (HEVC, HVC, "hev1.1.6.L30.90", [0x40, 0x42, 0x44])],
)
def test_records_and_streams_alike(codec_id, record, name, kinds):
    sets = parameter_sets(hello(codec_id, record))
    assert length_size(hello(codec_id, record)) == 4
    assert [unit[0] for unit in units(sets)] == kinds
    assert browser_name(codec_id, sets) == name
    in_stream = hello(codec_id, sets)
    assert (length_size(in_stream), parameter_sets(in_stream)) == (0, sets)
    assert browser_name(codec_id, sets + START + b"\x65 a picture") == name


@given(codec_id=st.sampled_from([H264, HEVC]), cut=st.integers(0, 120), junk=st.binary(max_size=60))
def test_what_makes_no_sense_is_refused_and_no_more(codec_id, cut, junk):
    record = (AVC if codec_id == H264 else HVC)[:cut] + junk
    try:
        browser_name(codec_id, parameter_sets(hello(codec_id, record)))
    except Unshowable as error:
        assert "its worker" in str(error)


@given(
    st.lists(st.binary(min_size=1, max_size=40).filter(lambda unit: b"\0" not in unit), min_size=1, max_size=5),
    st.sampled_from([1, 2, 4]),
)
def test_lengths_become_start_codes(parts, size):
    prefixed = b"".join(len(part).to_bytes(size, "big") + part for part in parts)
    assert units(annex_b(prefixed, size)) == parts
    assert units(annex_b(prefixed[:-1], size)) == parts[:-1]
    assert annex_b(prefixed, 0) == prefixed
