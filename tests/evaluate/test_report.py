"""Reports of synthetic evaluations: every number arrives, nothing is dropped in silence, nothing is half written."""

import csv
import json
import math
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO, StringIO

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from kptalk.errors import MissingExtra, OutputError
from kptalk.evaluate.metric import MetricSpec
from kptalk.evaluate.report import plots
from kptalk.evaluate.report.files import REPORTS, csv_report, json_report, write_report
from kptalk.evaluate.report.numbers import all_pairs, paired, shown, worded
from kptalk.evaluate.report.page import html_report
from kptalk.evaluate.report.table import notes, paired_table, table
from kptalk.evaluate.result import REAL, Clip, ClipResult, Evaluation, MethodResult, Tracks
from kptalk.evaluate.statistics import Mean, bootstrap_mean

NAN = math.nan
PULL = "kptalk weights pull syncnet"
COLUMNS = (
    MetricSpec("lse_c", "LSE-C", "", "higher", "Confidence of SyncNet."),
    MetricSpec("lse_d", "LSE-D", "", "lower", "Distance of SyncNet."),
    MetricSpec("up", "Correlation", "", "higher", "More is better."),
    MetricSpec("down", "LMD", "% of face", "lower", "Less is better."),
    MetricSpec("pose_std", "Diversity", "degrees", "real", "Standard deviation of the head's angles."),
    MetricSpec("fid", "FID", "", "lower", "Over all clips."),
    MetricSpec("fps", "FPS", "frames/s", "higher", "Frames a second."),
)
ODD = (
    '<script src="http://x.y/z.js">',
    "a&b.mp4",
    "$\\frac{x$.mp4",
    "名前.mp4",
    "[bold]x[/bold]",
    "bad\udcff\n\x1b[31m.mp4",
)


def tracks(frames=60, seed=0, gap=0):
    rng = np.random.default_rng(seed)
    opening = rng.random(frames).astype(np.float32) * 0.1
    rotation = rng.normal(0, 5, (frames, 3)).astype(np.float32)
    opening[:gap], rotation[:gap] = NAN, NAN
    heat = rng.random((64, 64)).astype(np.float32) * 9
    return Tracks(opening, rotation, heat, rng.integers(0, 256, (8, 128, 128, 3), np.uint8))


def evaluation(names=(REAL, "ours"), clips=("a.mp4", "b.mp4", "c.mp4"), values=None, frames=60):
    """``values``: (method, clip) to numbers that replace the usual ones."""
    listed = tuple(Clip(name, f"{place:064x}", frames) for place, name in enumerate(clips))
    methods = []
    for m, method in enumerate(names):
        results = []
        for c, clip in enumerate(clips):
            own = {"up": 0.9 - 0.1 * m + 0.01 * c, "down": 2.0 * m, "pose_std": 3 + m, "fps": 30.0 / m if m else NAN}
            own |= (values or {}).get((method, clip), {})
            results.append(ClipResult(clip, f"{100 * m + c:064x}", own, frames, 0, (), tracks(frames, 10 * m + c)))
        methods.append(MethodResult(method, tuple(results), {"fid": 12.5 * m}))
    why = f"weights are not here: {PULL}"
    return Evaluation(
        COLUMNS,
        listed,
        tuple(methods),
        {"lse_c": why, "lse_d": why},
        "kptalk evaluate --real R --generated G",
        7,
        {"kptalk": "1.2.3"},
        {"inception": "f" * 64},
    )


def with_method(whole, place, **changes):
    methods = list(whole.methods)
    methods[place] = replace(methods[place], **changes)
    return replace(whole, methods=tuple(methods))


def with_clip(whole, method, clip, **changes):
    results = list(whole.methods[method].clips)
    results[clip] = replace(results[clip], **changes)
    return with_method(whole, method, clips=tuple(results))


def drawn(renderable, width=120):
    console = Console(width=width, file=StringIO(), color_system=None)
    console.print(renderable)
    return console.file.getvalue()


# the terminal


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


# files


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


# the page


class Page(HTMLParser):
    """What a browser would see: texts, links, images, and whether every tag is closed in order."""

    VOID = frozenset({"meta", "img", "path", "circle"})

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.texts, self.links, self.images = [], [], [], [], []
        self.source = source
        self.feed(self.source)
        self.close()
        self.text = " ".join(self.texts)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        attributes = dict(attrs)
        self.links += [value for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        if tag == "img":
            self.images.append(attributes)

    def handle_startendtag(self, tag, attrs):
        assert tag in self.VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)


def page(whole):
    parsed = Page(html_report(whole))
    assert parsed.open == []
    return parsed


def decoded(image):
    kind, content = image["src"].removeprefix("data:image/").split(";base64,")
    return kind, b64decode(content, validate=True)


@pytest.fixture(scope="module")
def two_methods():
    """Real video, p on all of three clips, and q on two of them."""
    whole = evaluation((REAL, "p", "q"))
    return with_method(whole, 2, clips=whole.methods[2].clips[:2], missing={"c.mp4": "no such file"})


@pytest.fixture(scope="module")
def two_methods_page(two_methods):
    return page(two_methods)


def test_page_opens_offline(two_methods_page):
    seen = two_methods_page
    assert seen.links
    assert all(link.startswith("data:image/") for link in seen.links)
    assert "script" not in seen.tags
    assert "link" not in seen.tags
    assert "url(" not in seen.source
    assert "default-src 'none'" in seen.source
    for image in seen.images:
        kind, content = decoded(image)
        assert image["alt"]
        if kind == "svg+xml":
            assert b"<svg" in content
            assert b"<image" not in content
            assert b"<script" not in content
        else:
            assert Image.open(BytesIO(content)).format.lower() == kind


def test_page_shows_what_the_terminal_shows(two_methods, two_methods_page):
    whole, seen = two_methods, two_methods_page
    for text in ("0.910", "0.900…0.920", "0.810", "12.5", "LSE-C, LSE-D", PULL, "no such file", whole.command, "1.2.3"):
        assert text in seen.text
    for digest in ("f" * 64, *(clip.sha256 for method in whole.methods for clip in method.clips)):
        assert digest in seen.text
    assert "3 – 0" not in seen.text
    assert "2 – 0" in seen.text
    assert seen.tags.count("details") == len(whole.clips) + len(whole.methods)
    for column in COLUMNS:
        assert column.about in seen.text


def test_odd_names_are_text():
    seen = page(evaluation((REAL, *ODD), (ODD[0], ODD[-1])))
    assert "script" not in seen.tags
    assert all(link.startswith("data:image/") for link in seen.links)
    for name in ODD:
        assert shown(name) in seen.text


def test_each_clip_has_tracks_heat_maps_and_stills(two_methods_page):
    seen = two_methods_page
    kinds = [decoded(image)[0] for image in seen.images]
    videos, clips, methods = 3 + 3 + 2, 3, 3
    assert kinds.count("jpeg") == videos
    assert kinds.count("png") == (videos + clips) + (methods + 1)  # heat maps and their scale: clips, then the mean
    assert kinds.count("svg+xml") == 2 * clips + 1  # openings, tracks, and speed against diversity
    stills = next(Image.open(BytesIO(decoded(i)[1])) for i in seen.images if decoded(i)[0] == "jpeg")
    assert stills.size == (8 * 128, 128)


def test_real_video_alone_makes_a_page():
    seen = page(evaluation((REAL,)))
    assert "Clip by clip" not in seen.text
    assert "Speed against diversity" not in seen.text
    assert "0.910" in seen.text


def test_videos_without_faces_or_frames_make_a_page():
    whole = with_clip(evaluation(), 1, 0, tracks=tracks(gap=60), faceless=60, values={})
    nothing = Tracks(*(np.zeros(s, np.float32) for s in ((0,), (0, 3), (64, 64))), np.zeros((0, 128, 128, 3), np.uint8))
    whole = with_clip(whole, 1, 1, tracks=nothing, frames=0, values={})
    seen = page(whole)
    assert "60 of 60 frames without a face" in seen.text


def test_a_method_with_no_clip_at_all_makes_a_page():
    whole = with_method(evaluation(), 1, clips=(), overall={}, missing=dict.fromkeys(("a.mp4", "b.mp4", "c.mp4"), "no"))
    assert "no usable video for 3 of 3 clips" in page(whole).text


def test_equal_evaluations_give_equal_pages_whatever_matplotlib_is_set_to():
    whole = evaluation(clips=("a.mp4",))
    first = html_report(whole)
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        assert html_report(whole) == first
        assert dict(matplotlib.rcParams) == before


def test_a_large_page_stays_light():
    """25 clips, with stills and tracks of noise, which compress worst: with real ones the page is less than half."""
    one = page(evaluation((REAL, "p", "q"), ("a",), frames=200)).source
    two = page(evaluation((REAL, "p", "q"), ("a", "b"), frames=200)).source
    assert 25 * (len(two) - len(one)) < 16e6


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_without_the_extra_the_line_to_install_it_and_the_other_reports(tmp_path, monkeypatch, library):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(MissingExtra, match=rf"{library}: pip install 'kptalk\[evaluate\]'"):
        write_report(evaluation(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips.csv", "report.csv", "report.json"]


# pictures


def test_long_tracks_are_averaged_over_blocks():
    track = np.arange(4000, dtype=np.float32)
    track[0], track[3:6] = NAN, NAN
    seconds, means = plots.thinned(track)
    assert len(means) == len(seconds) == 1334
    assert means[0] == 1.5
    assert np.isnan(means[1])
    assert means[2] == 7
    assert seconds[2] == pytest.approx(7 / 25)
    short = plots.thinned(track[:100])
    np.testing.assert_array_equal(short[1], track[:100])


def test_heat_is_brighter_where_more_moves():
    values = np.zeros((64, 64), np.float32)
    values[10, 20] = 5
    _, content = decoded({"src": plots.heat(values, 5)})
    pixels = np.asarray(Image.open(BytesIO(content)).convert("L"))
    assert pixels.shape == (64, 64)
    assert np.unravel_index(pixels.argmax(), pixels.shape) == (10, 20)
    assert pixels[0, 0] < 10
    assert pixels.max() > 200
