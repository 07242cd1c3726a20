"""Tables and paired tables of an evaluation: every number arrives, and what is missing is said."""

import math

import pytest
from evaluations import COLUMNS, NAN, ODD, PULL, drawn, evaluation, with_clip, with_method
from hypothesis import given
from hypothesis import strategies as st

from kptalk.evaluate.report.numbers import all_pairs, paired, shown, worded
from kptalk.evaluate.report.table import notes, paired_table, table
from kptalk.evaluate.result import REAL
from kptalk.evaluate.statistics import Mean


def test_table_has_a_row_a_metric_and_real_video_first():
    text = drawn(table(evaluation((REAL, "ours", "theirs"))))
    lines = text.splitlines()
    head = next(line for line in lines if "Metric" in line)
    assert head.index("real") < head.index("ours") < head.index("theirs")
    row = {c.key: next(line for line in lines if f" {c.title} " in line) for c in COLUMNS}
    assert row["lse_c"].count("—") == 3
    assert "0.910" in row["up"]
    assert "0.810" in row["up"]
    assert "↑" in row["up"]
    assert "0.900…0.920" in row["up"]  # three equally distant values: their extremes are the interval
    assert "(% of face) ↓" in row["down"]
    assert "≈real" in row["pose_std"]
    assert "12.5" in row["fid"]
    assert "25.0" in row["fid"]
    assert "…" not in row["fid"]
    assert row["fps"].count("—") == 1


@pytest.mark.parametrize("width", [80, 160])
def test_table_fits_the_terminal(width):
    text = drawn(table(evaluation((REAL, "ours", "a method with a very long name"))), width)
    assert max(map(len, text.splitlines())) <= width
    for number in ("0.910", "0.810", "0.710", "12.5"):
        assert number in text


def test_names_are_neither_markup_nor_control_characters():
    text = drawn(table(evaluation((REAL, *ODD))), 400) + "\n".join(notes(evaluation((REAL, *ODD), ODD)))
    assert "[bold]x[/bold]" in text
    assert "\x1b" not in text
    assert "\udcff" not in text
    assert "bad\\udcff\\n\\x1b[31m.mp4" in text


def test_one_clip_has_no_interval():
    assert "…" not in drawn(table(evaluation(clips=("a.mp4",))))


def test_unavailable_metrics_come_with_the_command_that_gets_them():
    assert notes(evaluation())[0] == f"LSE-C, LSE-D: weights are not here: {PULL}"


def test_frames_without_a_face_are_counted_for_every_method():
    whole = with_clip(with_clip(evaluation(), 1, 0, faceless=60), 1, 2, faceless=5)
    assert "frames without a face: real 0 of 180, ours 65 of 180 (in 2 clips)" in notes(whole)


def test_missing_clips_and_remarks_are_told():
    whole = evaluation(clips=tuple("abcdef"))
    whole = with_method(whole, 1, clips=whole.methods[1].clips[:1], missing=dict.fromkeys("bcdef", "no such file"))
    whole = with_clip(whole, 1, 0, notes=("3 frames short",))
    lines = notes(whole)
    assert "ours: no usable video for 5 of 6 clips: no such file: b, c, d, e and 1 more" in lines
    assert "ours: 3 frames short: a" in lines


def test_means_over_fewer_clips_are_told():
    whole = evaluation(values={("ours", "b.mp4"): {"up": NAN}})
    assert "ours: 2 of 3 clips measured for Correlation" in notes(whole)
    assert not [line for line in notes(evaluation()) if "measured" in line]


def test_what_no_clip_fulfils_is_told_with_what_it_takes():
    whole = evaluation(
        values={(method, clip): {"up": NAN} for method in (REAL, "ours") for clip in ["a.mp4", "b.mp4", "c.mp4"]}
    )
    assert "Correlation: could be measured on no clip: More is better." in notes(whole)
    assert not [line for line in notes(evaluation()) if "no clip" in line]


# numbers


def test_a_row_has_equal_decimals():
    means = [Mean(7.123, 6.9, 7.349, 5), Mean(-0.001, NAN, NAN, 5), Mean(NAN, NAN, NAN, 0)]
    assert worded(means) == [("7.12", "6.90…7.35"), ("0.00", ""), ("—", "")]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=5))
def test_any_number_can_be_worded(numbers):
    texts = worded([Mean(n, NAN, NAN, 1) for n in numbers])
    assert [text != "—" for text, _ in texts] == [math.isfinite(n) for n in numbers]


@given(st.text(st.characters(), max_size=20))
def test_shown_names_can_be_written_anywhere(name):
    assert shown(name).isprintable()
    shown(name).encode()


# two methods


def test_paired_counts_which_is_better_in_the_metrics_own_direction():
    names, clips = (REAL, "p", "q"), ("a", "b", "c", "d")
    values = {}
    for clip, (p, q) in zip(clips, [(5, 4), (5, 5), (3, 6), (9, 1)], strict=True):
        values["p", clip] = {"up": p, "down": p, "pose_std": p}
        values["q", clip] = {"up": q, "down": q, "pose_std": q}
        values[REAL, clip] = {"pose_std": 4.9}
    found = {column.key: pairs["p", "q"] for column, pairs in paired(evaluation(names, clips, values)).items()}
    assert (found["up"].wins, found["up"].losses, found["up"].ties) == (2, 1, 1)
    assert (found["down"].wins, found["down"].losses, found["down"].ties) == (1, 2, 1)
    # distances from 4.9: p 0.1 0.1 1.9 4.1, q 0.9 0.1 1.1 3.9
    assert (found["pose_std"].wins, found["pose_std"].losses, found["pose_std"].ties) == (1, 2, 1)
    assert found["up"].p == 1.0
    assert "lse_c" not in found
    assert "fid" not in found


def test_paired_matches_clips_by_name_and_leaves_missing_ones_out():
    whole = evaluation((REAL, "p", "q"))
    whole = with_method(whole, 1, clips=whole.methods[1].clips[1:], missing={"a.mp4": "no such file"})
    count = next(pairs["p", "q"] for column, pairs in paired(whole).items() if column.key == "up")
    assert (count.wins, count.losses, count.ties) == (2, 0, 0)


def test_pairs_need_two_generated_methods():
    assert paired(evaluation()) == {}
    assert paired_table(evaluation()) is None
    three = paired(evaluation((REAL, "p", "q", "r")))
    assert all_pairs(three) == [("p", "q"), ("p", "r"), ("q", "r")]
    assert "3-0-0 p=0.25" in drawn(paired_table(evaluation((REAL, "p", "q"))))
