"""Values for rows: what fits a column, how frames are numbered once a clip's true length is known, which notes are new. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import tzinfo
from typing import NamedTuple

from zmtwist.changes import AddFrame, Tally
from zmtwist.zm.db.dialect import Statement
from zmtwist.zm.db.schema import Column
from zmtwist.zm.event_times import SECOND, local_time

NEW_EVENT = "New Event"
"""Events.Name while nobody has given the event one: the close replaces this and nothing else."""

MAX_NOTES = 16_000
"""Characters of Events.Notes: what a TEXT column holds in any character set."""

SMALLINT = 0xFFFF
INT = 0xFFFF_FFFF
MAX_DELTA = 99_999_999

_FRAME_TYPES = {"Normal": "'Normal'", "Bulk": "'Bulk'", "Alarm": "'Alarm'"}

_CODECS = {
    "utf8mb4": "utf-8",
    "utf8mb3": "utf-8",
    "utf8": "utf-8",
    "ucs2": "utf-16-be",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
    "latin1": "cp1252",
    "latin2": "iso8859_2",
    "latin5": "iso8859_9",
    "latin7": "iso8859_13",
    "greek": "iso8859_7",
    "hebrew": "iso8859_8",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "tis620": "tis_620",
    "gb2312": "gb2312",
    "gbk": "gbk",
    "gb18030": "gb18030",
    "big5": "big5",
    "sjis": "shift_jis",
    "cp932": "cp932",
    "ujis": "euc_jp",
    "eucjpms": "euc_jp",
    "euckr": "euc_kr",
    "macroman": "mac_roman",
    "macce": "mac_latin2",
    **{name: name for name in ("cp850", "cp852", "cp866", "cp1250", "cp1251", "cp1256", "cp1257")},
}
"""MySQL's character sets by what Python calls them; any other is taken for ASCII, which the rest can hold (but for swe7)."""

_REFUSED = {
    charset: dict.fromkeys(map(ord, characters), "?")
    for charset, characters in {
        "greek": "\u037a\u2018\u2019\u20ac\u20af",
        "hebrew": "\xaf",
        "koi8u": "\u2219",
        "big5": "\u02cd\u2574\uffe3",
        "sjis": "\xa5\u203e\uff3c",
        "ujis": "\xa5\u203e\uff3c",
        "eucjpms": "\xa2\xa3\xa5\xa6\xac\u2016\u203e\u2212\u301c",
        "cp932": "\x80\xa2\xa3\xac\u2016\u2212\u301c\uf8f0\uf8f1\uf8f2\uf8f3",
        "cp866": "\xa4\u2116",
        "cp1256": "\u0679\u0688\u0691\u06a9\u06ba\u06be\u06c1\u06d2",
    }.items()
}
"""What Python's codec holds, and MySQL's character set of that name does not (a strict server refuses the whole statement for it)."""

_THREE_BYTES = frozenset({"utf8mb3", "utf8", "ucs2"})
"""Character sets that end at U+FFFF."""


class Frame(NamedTuple):
    """A row of `Frames` without its event: Delta in hundredths of a second, as the column keeps it."""

    frame_id: int
    kind: str
    centis: int
    score: int


FIRST_FRAME = Frame(1, "Normal", 0, 0)


def clamp(value: int, most: int) -> int:
    """`value` within an unsigned column's range."""
    return 0 if value < 0 else min(value, most)


def hundredths(micros: int) -> int:
    """Microseconds as hundredths of a second, rounded half up; never negative."""
    return max(0, (micros + 5_000) // 10_000)


def decimal(centis: int) -> str:
    """Hundredths as a DECIMAL's text."""
    return f"{centis // 100}.{centis % 100:02}"


def fit(text: str, column: Column) -> str:
    """`text` cut to the column's width, with `?` for what its character set can't hold (an emoji in latin1 or 3-byte utf8)."""
    if column.charset in _THREE_BYTES:
        text = "".join(c if c <= "\uffff" else "?" for c in text)
    coding = _CODECS.get(column.charset, "ascii")
    text = text.translate(_REFUSED.get(column.charset, {}))
    if column.length is not None and not column.in_bytes:
        text = text[: column.length]
    encoded = text.encode(coding, "replace")
    if column.length is not None and column.in_bytes:
        encoded = encoded[: column.length]
    return encoded.decode(coding, "ignore")


def frame(change: AddFrame) -> Frame:
    """An `AddFrame` as its row. An unknown kind counts as what its score says."""
    score, centis, kind = change.score, (change.offset_us + 5_000) // 10_000, change.kind
    if not (0 <= score <= SMALLINT and 0 <= centis <= MAX_DELTA and kind in _FRAME_TYPES):
        score, centis = clamp(score, SMALLINT), clamp(centis, MAX_DELTA)
        kind = kind if kind in _FRAME_TYPES else "Alarm" if score else "Normal"
    return Frame(change.frame_id, kind, centis, score)


def first_frame(change: AddFrame | None) -> Frame:
    """The first row, an alarm if `change` says so. Its Delta is 0 whenever its event came: video time 0 is Delta 0."""
    return FIRST_FRAME if change is None else frame(change)._replace(frame_id=1, centis=0)


def risen(changes: Iterable[AddFrame], last: int) -> list[Frame]:
    """Rows for the changes whose FrameId is above all before, `last` included. Others are already there (a batch written again), or
    would stand out of order, which scrambles ZoneMinder's cues; either way they are left out."""
    rows: list[Frame] = []
    for change in changes:
        if last < change.frame_id <= INT:
            last = change.frame_id
            rows.append(frame(change))
    return rows


def frame_values(event_id: int | str, frames: Iterable[Frame], start_us: int, zone: tzinfo | None) -> list[str]:
    """The rows as SQL text, `(EventId,FrameId,Type,TimeStamp,Delta,Score)` each: numbers, dates and words of our own making only.
    `event_id` may be the name of a variable that holds it.

    TimeStamp is StartDateTime + Delta, in local time. (As text, a thousand rows are written in a fraction of the time that a driver
    takes to quote their values one by one.)
    """
    start = start_us // SECOND
    stamps: dict[int, str] = {}
    values = []
    for frame_id, kind, centis, score in frames:
        second = start + centis // 100
        stamp = stamps.get(second)
        if stamp is None:
            stamp = stamps[second] = local_time(second * SECOND, zone).isoformat(" ")
        values.append(
            f"({event_id},{frame_id},{_FRAME_TYPES[kind]},'{stamp}',{centis // 100}.{centis % 100:02},{score})"
        )
    return values


def frames_statement(values: Iterable[str]) -> Statement:
    """Insert the rows that `frame_values` gave."""
    return f"INSERT INTO Frames (EventId, FrameId, Type, TimeStamp, Delta, Score) VALUES {','.join(values)}", ()


def settle(rows: Iterable[Frame], frames: int, length_us: int) -> list[Frame]:
    """The rows with the ordinals that their Deltas have in a finished clip of `frames` frames: ascending, distinct, 1 to `frames`.

    An alarm that belongs on the first frame takes the place of a first row without a score. If there are more rows than frames, those
    with the lowest scores go, never the first. The same again gives the same.
    """
    return [row for _, row in settled(rows, frames, length_us)]


def settled(rows: Iterable[Frame], frames: int, length_us: int) -> list[tuple[int, Frame]]:
    """As `settle`, each row with the FrameId that it had."""
    ordered = sorted(rows, key=lambda row: (row.centis, row.frame_id))
    span = hundredths(length_us)

    def ideal(row: Frame) -> int:
        return 1 + (2 * row.centis * (frames - 1) + span) // (2 * span) if span else 1

    first = next((i for i, row in enumerate(ordered) if row.score), 0)
    if first and ideal(ordered[first]) == 1:
        ordered[0] = ordered.pop(first)._replace(centis=ordered[0].centis)
    if surplus := len(ordered) - frames:
        lowest = sorted(range(1, len(ordered)), key=lambda i: (ordered[i].score, -i))[: max(0, surplus)]
        gone = set(lowest)
        ordered = [row for i, row in enumerate(ordered) if i not in gone]
    ordinals: list[int] = []
    for row in ordered:
        ordinals.append(max(ideal(row), ordinals[-1] + 1 if ordinals else 1))
    most = frames
    for i in range(len(ordinals) - 1, -1, -1):
        ordinals[i] = most = min(ordinals[i], most)
        most -= 1
    return [(row.frame_id, row._replace(frame_id=new)) for row, new in zip(ordered, ordinals, strict=True)]


def moved_to(pairs: Sequence[tuple[int, Frame]], numbers: Iterable[int]) -> dict[int, int]:
    """For FrameIds as they were before `settled` gave `pairs`, the one that each has now; of a row that went, that of the one before."""
    olds = sorted((old, row.frame_id) for old, row in pairs)
    return {number: olds[max(0, bisect_right(olds, (number, INT)) - 1)][1] for number in numbers} if olds else {}


def recount(rows: Iterable[Frame]) -> Tally:
    """The scores that the rows add up to."""
    alarm_frames = total = best = 0
    best_frame = 1
    for row in rows:
        if row.score > 0:
            alarm_frames += 1
            total += row.score
            if row.score > best:
                best, best_frame = row.score, row.frame_id
    return Tally(alarm_frames, total, best, best_frame)


def add_notes(present: str, notes: Sequence[str], column: Column) -> str:
    """`present` with each line of `notes` that it has not yet, in order. Nothing that is there is changed, and once it is full
    nothing is added."""
    lines = present.splitlines()
    known = set(lines)
    text = present
    for note in notes:
        for line in note.splitlines():
            line = fit(line.strip(), column)
            if line and line not in known and len(text) + len(line) < MAX_NOTES:
                known.add(line)
                text = f"{text}\n{line}" if text else line
    return text
