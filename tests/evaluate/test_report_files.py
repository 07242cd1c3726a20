"""Report files: nothing is dropped in silence, nothing is half written."""

import csv
import json
import math
from io import StringIO

import pytest
from evaluations import COLUMNS, NAN, ODD, evaluation, with_clip, with_method

from kptalk.errors import OutputError
from kptalk.evaluate.report.files import REPORTS, csv_report, json_report, write_report
from kptalk.evaluate.report.numbers import shown
from kptalk.evaluate.result import REAL
from kptalk.evaluate.statistics import bootstrap_mean


def read_csv(whole):
    return list(csv.DictReader(StringIO(csv_report(whole), newline="")))


def test_csv_has_a_row_for_every_clip_and_method():
    whole = evaluation(clips=ODD, values={("ours", ODD[0]): {"up": 1 / 3, "down": NAN}})
    whole = with_method(whole, 1, clips=whole.methods[1].clips[:-1], missing={ODD[-1]: "cannot be decoded"})
    whole = with_clip(whole, 1, 0, notes=("short", "silent, too"), faceless=4)
    rows = read_csv(whole)
    keys = [column.key for column in COLUMNS]
    assert list(rows[0]) == ["clip", "method", "sha256", "frames", "faceless", *keys, "notes"]
    assert [(row["method"], row["clip"]) for row in rows] == [(m, shown(c)) for m in (REAL, "ours") for c in ODD]
    first = rows[len(ODD)]
    assert (first["up"], first["down"], first["lse_c"]) == ("0.333333", "", "")
    assert (first["frames"], first["faceless"], first["notes"]) == ("60", "4", "short; silent, too")
    assert first["sha256"] == whole.methods[1].clips[0].sha256
    assert rows[-1]["notes"] == "missing: cannot be decoded"
    assert rows[-1]["up"] == ""


def strict_json(text):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_holds_all_but_the_tracks():
    whole = evaluation((REAL, "p", "q"), values={("p", "a.mp4"): {"up": NAN, "down": math.inf}})
    whole = with_method(whole, 2, clips=whole.methods[2].clips[:2], missing={"c.mp4": "no such file"})
    content = strict_json(json_report(whole))
    assert content["command"] == whole.command
    assert content["seed"] == 7
    assert content["versions"] == {"kptalk": "1.2.3"}
    assert content["weights"] == {"inception": "f" * 64}
    assert content["clips"][1] == {"name": "b.mp4", "sha256": f"{1:064x}", "frames": 60}
    assert content["unavailable"].keys() == {"lse_c", "lse_d"}
    p = content["methods"][1]
    assert p["clips"][0]["values"]["up"] is None
    assert p["clips"][0]["values"]["down"] is None
    expected = bootstrap_mean([NAN, 0.81, 0.82])
    assert p["means"]["up"] == pytest.approx({"mean": 0.815, "low": expected.low, "high": expected.high, "n": 2})
    assert p["means"]["lse_c"] == {"mean": None, "low": None, "high": None, "n": 0}
    assert p["means"]["fid"] == {"mean": 12.5, "low": None, "high": None, "n": 3}
    assert content["methods"][2]["missing"] == {"c.mp4": "no such file"}
    up = next(pair for pair in content["paired"] if pair["column"] == "up")
    assert (up["first"], up["second"], up["wins"], up["losses"], up["ties"]) == ("p", "q", 1, 0, 0)


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    whole = evaluation(clips=("a.mp4",))
    write_report(whole, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(REPORTS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        write_report(evaluation(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(OutputError, match="cannot write"):
        write_report(whole, tmp_path / "absent")
