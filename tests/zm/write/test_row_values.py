"""Values for rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zmtwist.changes import AddFrame, Tally
from zmtwist.zm.db.schema import Column
from zmtwist.zm.write.row_values import (
    FIRST_FRAME,
    MAX_DELTA,
    MAX_NOTES,
    Frame,
    add_notes,
    clamp,
    decimal,
    fit,
    frame,
    frame_values,
    hundredths,
    moved_to,
    recount,
    risen,
    settle,
    settled,
)

TEXT = Column(length=65_535, in_bytes=True)


@given(st.text(), st.sampled_from(["utf8mb4", "utf8mb3", "latin1", "ascii"]), st.integers(0, 40), st.booleans())
def test_any_text_fits_any_column(text, charset, length, in_bytes):
    fitted = fit(text, Column(length=length, in_bytes=in_bytes, charset=charset))
    coding = {"latin1": "cp1252", "ascii": "ascii"}.get(charset, "utf-8")
    encoded = fitted.encode(coding)  # raises what MariaDB would refuse
    assert len(encoded if in_bytes else fitted) <= length
    if charset == "utf8mb3":
        assert all(c <= "\uffff" for c in fitted)
    if text.isascii() and len(text) <= length:
        assert fitted == text


def test_what_a_column_can_hold_is_kept():
    assert fit("dør €", Column(charset="latin1")) == "dør €"
    assert fit("🐕 дом", Column(charset="utf8mb3")) == "? дом"
    assert fit("\ud800x", Column()) == "?x"
    assert fit("дом", Column(length=5, in_bytes=True)) == "до"


def test_other_character_sets_keep_their_own_letters():
    assert fit("дом dør", Column(charset="cp1251")) == "дом d?r"
    assert fit("dům dør", Column(charset="latin2")) == "dům d?r"
    assert fit("犬 🐕", Column(charset="gbk")) == "犬 ?"
    assert fit("犬 🐕", Column(charset="ucs2")) == "犬 ?"
    assert fit("犬 🐕", Column(charset="utf16")) == "犬 🐕"
    assert fit("犬犬", Column(length=3, in_bytes=True, charset="utf16")) == "犬"
    assert fit("€ α", Column(charset="greek")) == "? α"
    assert fit("dør", Column(charset="geostd8")) == "d?r"


def test_numbers_are_brought_within_columns():
    assert [clamp(v, 9) for v in (-1, 0, 9, 10)] == [0, 0, 9, 9]
    assert [hundredths(v) for v in (-5, 0, 4_999, 5_000, 1_234_567)] == [0, 0, 0, 1, 123]
    assert [decimal(v) for v in (0, 5, 123)] == ["0.00", "0.05", "1.23"]


@given(
    st.builds(
        AddFrame,
        st.just("a"),
        st.integers(2, 2**40),
        st.integers(-(2**60), 2**60),
        st.integers(-(2**40), 2**40),
        st.text(),
    )
)
def test_any_frame_becomes_a_row_that_the_columns_take(change):
    row = frame(change)
    assert 0 <= row.centis <= MAX_DELTA
    assert 0 <= row.score <= 65_535
    assert row.kind in ("Normal", "Bulk", "Alarm")


def test_only_frames_above_the_last_are_taken():
    changes = [AddFrame("a", n, 0, 1) for n in (3, 1, 4, 4, 2**32, 9, 5)]
    assert [row.frame_id for row in risen(changes, 2)] == [3, 4, 9]


def test_frame_rows_as_text():
    values = frame_values(8, [FIRST_FRAME, Frame(12, "Alarm", 110, 50)], 1_772_323_200_900_000, None)
    assert values[0].startswith("(8,1,'Normal','")
    assert values[1].endswith("',1.10,50)")


rows = st.lists(
    st.builds(
        Frame, st.integers(2, 500), st.sampled_from(["Alarm", "Bulk"]), st.integers(0, 2_000), st.integers(0, 255)
    ),
    max_size=40,
    unique_by=lambda row: row.frame_id,
).map(lambda found: [FIRST_FRAME, *sorted(found)])


@given(rows, st.integers(1, 300), st.integers(0, 20_000_000))
def test_settling_gives_ascending_distinct_ordinals_within_the_clip(before, frames, length_us):
    after = settle(before, frames, length_us)
    first = min((row for row in before[1:] if row.score), key=lambda row: (row.centis, row.frame_id), default=None)
    span = hundredths(length_us)
    if first is not None and (2 * first.centis * (frames - 1) < span or not span):
        before = [first._replace(centis=0), *(row for row in before[1:] if row is not first)]
    numbers = [row.frame_id for row in after]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1
    assert numbers[-1] <= frames
    assert len(after) == min(len(before), frames)
    assert settle(after, frames, length_us) == after
    assert [row.centis for row in after] == sorted(row.centis for row in after)
    if len(before) <= frames:
        assert sorted(row[1:] for row in after) == sorted(row[1:] for row in before)
    else:  # what had to go scored no higher than what stayed
        kept, all_scores = sorted(row.score for row in after[1:]), sorted(row.score for row in before[1:])
        assert kept == all_scores[len(all_scores) - len(kept) :]


def test_an_alarm_of_the_first_frame_takes_the_place_of_the_first_row():
    before = [FIRST_FRAME, Frame(2, "Alarm", 3, 40), Frame(3, "Alarm", 10, 50)]
    pairs = settled(before, 30, 2_900_000)
    assert pairs == [(2, Frame(1, "Alarm", 0, 40)), (3, Frame(2, "Alarm", 10, 50))]
    assert moved_to(pairs, [1, 2, 3, 9]) == {1: 1, 2: 1, 3: 2, 9: 2}
    scored = [Frame(1, "Alarm", 0, 9), *before[1:]]
    assert [row.frame_id for row in settle(scored, 30, 2_900_000)] == [1, 2, 3]


def test_of_more_rows_than_frames_those_with_the_highest_scores_stay():
    before = [
        FIRST_FRAME,
        *(Frame(n, "Alarm", 10 * n, score) for n, score in ((2, 90), (3, 10), (4, 50), (5, 99), (6, 20))),
    ]
    assert [row.score for row in settle(before, 4, 900_000)] == [0, 90, 50, 99]


@given(st.integers(2, 2_000), st.integers(1, 60))
def test_settling_puts_each_row_where_its_time_is(frames, fps):
    length_us = (frames - 1) * 1_000_000 // fps
    wanted = sorted({1, frames // 3 + 1, frames // 2 + 1, frames})
    wrong = [Frame(n + i, "Alarm", hundredths((n - 1) * 1_000_000 // fps), 5) for i, n in enumerate(wanted)]
    for row, n in zip(settle(wrong, frames, length_us), wanted, strict=True):
        assert abs(row.frame_id - n) <= 1 + fps // 100


def test_a_recount_is_over_alarm_frames():
    scored = [FIRST_FRAME, Frame(5, "Alarm", 40, 30), Frame(9, "Alarm", 80, 70), Frame(11, "Alarm", 99, 70)]
    assert recount(scored) == Tally(3, 170, 70, 9)
    assert recount([FIRST_FRAME]) == Tally(0, 0, 0, 1)


def test_notes_are_added_line_by_line_and_once():
    assert add_notes("", ["a person", " a car \na person"], TEXT) == "a person\na car"
    assert add_notes("by hand", ["by hand", "new"], TEXT) == "by hand\nnew"
    assert add_notes("x", ["", "  "], TEXT) == "x"
    assert add_notes("x" * MAX_NOTES, ["more"], TEXT) == "x" * MAX_NOTES


@given(st.text(), st.lists(st.text(), max_size=5))
def test_notes_never_lose_anything(present, notes):
    once = add_notes(present, notes, TEXT)
    assert once.startswith(present)
    assert add_notes(once, notes, TEXT) == once
