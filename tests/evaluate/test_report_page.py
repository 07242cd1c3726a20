"""The report's page: it opens offline, shows what the terminal shows, and stays light."""

from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import matplotlib
import numpy as np
import pytest
from evaluations import COLUMNS, NAN, ODD, PULL, evaluation, tracks, with_clip, with_method
from PIL import Image

from kptalk.errors import MissingExtra
from kptalk.evaluate.report import plots
from kptalk.evaluate.report.files import write_report
from kptalk.evaluate.report.numbers import shown
from kptalk.evaluate.report.page import html_report
from kptalk.evaluate.result import REAL, Tracks


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
