"""H.264 and H.265 as bytes: parameter sets, the two ways to tell units apart, and a codec's name as browsers want it. Pure."""

from __future__ import annotations

import re

from zmtwist.wire.messages import Hello

H264, HEVC = 27, 173
"""FFmpeg's codec numbers, as HELLO gives them."""

NAMES = {H264: "h264", HEVC: "hevc"}

START = b"\x00\x00\x00\x01"

_START_CODE = re.compile(rb"\x00\x00\x00?\x01")
_ESCAPE = re.compile(rb"\x00\x00\x03")
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
    """An access unit with start codes, from one with lengths of `size` bytes (0: with start codes already), as far as it is whole."""
    if size == 0:
        return payload
    parts: list[bytes] = []
    at, end = 0, len(payload)
    while at + size < end:
        length = int.from_bytes(payload[at : at + size], "big")
        at += size
        if length and at + length <= end:
            parts += (START, payload[at : at + length])
        at += length
    return b"".join(parts)


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


def _hevc_name(level: bytes) -> str:
    """Of the 12 bytes of `profile_tier_level` (ISO 14496-15, annex E)."""
    space = ("", "A", "B", "C")[level[0] >> 6]
    tier = "H" if level[0] >> 5 & 1 else "L"
    compatible = int(f"{int.from_bytes(level[1:5], 'big'):032b}"[::-1], 2)
    constraints = level[5:11].rstrip(b"\x00")
    return ".".join(
        (f"hev1.{space}{level[0] & 0x1F}", f"{compatible:x}", f"{tier}{level[11]}", *(f"{b:x}" for b in constraints))
    )
