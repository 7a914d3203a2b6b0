"""H.264 and H.265 as bytes: parameter sets, the two ways to tell units apart, and a codec's name as browsers want it. Pure."""

from __future__ import annotations

import re

from zmtwist.wire.messages import Hello

H264, HEVC = 27, 173
"""FFmpeg's codec numbers, as HELLO gives them."""

NAMES = {H264: "h264", HEVC: "hevc"}

START = b"\x00\x00\x00\x01"

MOST_UNITS = 2048
"""Of one access unit, or of a stream's parameters. Encoders make some dozens; levels of H.265 end at 600 slices."""

MOST_PARAMETERS = 16 * 1024
"""Bytes of extradata. Some hundred are usual."""

_START_CODE = re.compile(rb"\x00\x00\x00?\x01")
_ESCAPE = re.compile(rb"\x00\x00\x03")
_NAME = re.compile(r"[A-Za-z0-9.]{1,64}")
_TOO_MANY = f"its frames are in more than {MOST_UNITS} parts"
_H264_SPS, _HEVC_SPS = 7, 33


class Unshowable(Exception):
    """A stream that can't be shown; the text says why."""


def is_annex_b(data: bytes) -> bool:
    """Whether units are told apart by start codes."""
    return data.startswith((b"\x00\x00\x01", START))


def units(annex_b: bytes) -> list[bytes]:
    """The units of an Annex B byte stream."""
    return [unit for unit in _START_CODE.split(annex_b) if unit]


def length_size(hello: Hello) -> int:
    """Of how many bytes the length before each unit is; 0 for start codes in their place. Raises Unshowable."""
    record = hello.extradata
    if len(record) > MOST_PARAMETERS or record.count(START[1:]) > MOST_UNITS:
        raise Unshowable("its worker tells more codec parameters than any stream has")
    if not record or is_annex_b(record):
        return 0
    at = 21 if hello.codec_id == HEVC else 4
    if record[0] != 1 or len(record) <= at:
        raise Unshowable("its worker tells codec parameters that make no sense")
    return (record[at] & 3) + 1


def parameter_sets(hello: Hello) -> bytes:
    """The parameter sets that came with HELLO, as Annex B; empty where they are in the stream only. Raises Unshowable."""
    record = hello.extradata
    if length_size(hello) == 0:
        return record
    try:
        found = _of_hevc(record) if hello.codec_id == HEVC else _of_h264(record)
    except IndexError:
        raise Unshowable("its worker tells codec parameters that make no sense") from None
    return b"".join(START + unit for unit in found)


def _of_h264(record: bytes) -> list[bytes]:
    """AVCDecoderConfigurationRecord (ISO 14496-15, 5.3.3.1)."""
    found, at = _some(record, 6, record[5] & 0x1F)
    return found + _some(record, at + 1, record[at])[0]


def _of_hevc(record: bytes) -> list[bytes]:
    """HEVCDecoderConfigurationRecord (ISO 14496-15, 8.3.3.1): arrays by kind."""
    found: list[bytes] = []
    at = 23
    for _ in range(record[22]):
        count = int.from_bytes(record[at + 1 : at + 3], "big")
        more, at = _some(record, at + 3, count)
        found += more
    return found


def _some(record: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """`count` units from `at`, each behind its length in two bytes, and where they end. Raises IndexError past the record's end."""
    found: list[bytes] = []
    for _ in range(count):
        end = at + 2 + int.from_bytes(record[at : at + 2], "big")
        if end > len(record):
            raise IndexError(end)
        found.append(record[at + 2 : end])
        at = end
    return found, at


def annex_b(payload: bytes, size: int) -> bytes:
    """An access unit with start codes, from one with lengths of `size` bytes (0: with start codes already), as far as it is whole.

    Raises Unshowable for more units than encoders make: what players and libraries do with each of them costs many times its size.
    """
    units = payload if size == 0 else _with_start_codes(memoryview(payload), size)
    if (
        units.count(START[1:]) > MOST_UNITS
    ):  # counted in the end: what a length stands before may hold start codes as well
        raise Unshowable(_TOO_MANY)
    return units


def _with_start_codes(payload: memoryview, size: int) -> bytes:
    parts: list[bytes | memoryview] = []
    at, end = 0, len(payload)
    for _ in range(MOST_UNITS):
        if at + size >= end:
            return b"".join(parts)
        length = int.from_bytes(payload[at : at + size], "big")
        at += size
        if length and at + length <= end:
            parts += (START, payload[at : at + length])
        at += length
    raise Unshowable(_TOO_MANY)


def browser_name(codec_id: int, parameters: bytes) -> str:
    """The codec as `MediaSource.isTypeSupported` wants it (RFC 6381), from its parameter sets. Raises Unshowable."""
    for unit in units(parameters):
        if codec_id == H264 and unit[0] & 0x1F == _H264_SPS and len(unit) >= 4:
            return f"avc1.{unit[1:4].hex()}"
        if codec_id == HEVC and unit[0] >> 1 & 0x3F == _HEVC_SPS:
            plain = _ESCAPE.sub(b"\x00\x00", unit)
            if len(plain) >= 15:
                return _hevc_name(plain[3:15])
    raise Unshowable("its worker does not tell the codec's parameters")


def content_type(codec: str) -> str:
    """That of fragmented MP4 with this codec in it, for browsers. Raises ValueError for what is no codec's name."""
    if not _NAME.fullmatch(codec):
        raise ValueError("what should be a codec's name is none")
    return f'video/mp4; codecs="{codec}"'


def _hevc_name(level: bytes) -> str:
    """Of the 12 bytes of `profile_tier_level` (ISO 14496-15, annex E)."""
    space = ("", "A", "B", "C")[level[0] >> 6]
    tier = "H" if level[0] >> 5 & 1 else "L"
    compatible = int(f"{int.from_bytes(level[1:5], 'big'):032b}"[::-1], 2)
    constraints = level[5:11].rstrip(b"\x00")
    return ".".join(
        (f"hev1.{space}{level[0] & 0x1F}", f"{compatible:x}", f"{tier}{level[11]}", *(f"{b:x}" for b in constraints))
    )
