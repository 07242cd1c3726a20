"""Timings: what is written is read again, and what is not a timing is one line."""

import json

import pytest

from kptalk.errors import DatasetError
from kptalk.evaluate.speed import Timing, read_timings, stage_columns, write_timings

ONE = Timing(100, 4.0, 2.0, 0.3, 500.0, {"motion": 1.0, "drawing": 0.5})


def test_a_timing_says_how_fast(tmp_path):
    values = ONE.values()
    assert values["fps"] == 50
    assert values["real_time_factor"] == 0.5
    assert values["stage_drawing"] == 0.125
    assert [column.key for column in stage_columns([ONE])] == ["stage_motion", "stage_drawing"]


def test_written_and_read_again(tmp_path):
    assert read_timings(tmp_path) == {}
    write_timings(tmp_path, {"a.mp4": ONE})
    assert read_timings(tmp_path) == {"a.mp4": ONE}
    assert [path.name for path in tmp_path.iterdir()] == ["timing.json"]


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"a": 1}', '{"a": {"frames": 1}}', json.dumps({"a": {**ONE.__dict__, "seconds": 0}})]
    + [json.dumps({"a": {**ONE.__dict__, "stages": [1]}}), json.dumps({"a": {**ONE.__dict__, "seconds": "fast"}})],
)
def test_what_is_no_timing_is_said(tmp_path, content):
    (tmp_path / "timing.json").write_text(content)
    with pytest.raises(DatasetError, match=r"timing\.json"):
        read_timings(tmp_path)
