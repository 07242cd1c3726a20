"""Progress and messages: a line for every stage, times that add up, flags in the place of options."""

import io
import re
import time

import pytest
from rich.console import Console

from kptalk.cli import console, process
from kptalk.errors import InputError, OptionError, OutputError


@pytest.fixture
def terminal(monkeypatch):
    """What the stages write on a terminal of 80 columns."""
    written = io.StringIO()
    screen = Console(file=written, force_terminal=True, width=80, color_system=None, legacy_windows=False)
    monkeypatch.setattr(console, "errors", screen)
    return written


def lines(terminal):
    """The last picture of the terminal, without what moves the cursor."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def test_every_stage_has_a_line(terminal):
    with console.progress_bars(quiet=False) as stages:
        with stages.spinner("finding the face"):
            pass
        for done in range(0, 101, 10):
            stages("drawing", done, 100)
        stages("reading the pose", 7, None)
    shown = lines(terminal)
    assert any(re.fullmatch(r"✓ finding the face +0\.\d s", line) for line in shown)
    assert any(re.fullmatch(r"✓ drawing +━+ 100/100 frames, \d+\.\d s", line) for line in shown)
    assert any("reading the pose" in line and line.endswith("7 frames") for line in shown)
    assert "-:--" not in terminal.getvalue()


def test_more_frames_than_expected_are_shown_as_they_are(terminal):
    with console.progress_bars(quiet=False) as stages:
        stages("motion", 12, 10)
    assert "12/12 frames" in terminal.getvalue()


def test_nothing_is_shown_where_quiet_is_asked_for(terminal):
    with console.progress_bars(quiet=True) as stages, stages.spinner("loading the model"):
        stages("motion", 1, 2)
    assert terminal.getvalue() == ""


def test_the_times_of_the_stages_add_up():
    with console.progress_bars(quiet=True) as stages:
        began = time.perf_counter()
        with stages.of("loading", since=began - 1):
            time.sleep(0.06)
        with stages.of("speech"):
            pass
        with stages.of("video"):
            time.sleep(0.06)
        whole = time.perf_counter() - began + 1
    assert sum(stages.seconds.values()) == pytest.approx(whole, abs=0.02)
    assert re.fullmatch(r"loading 1\.\d s, video 0\.\d s", stages.summary())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OptionError("pose_scale is 9: give 0 to 3"), "--pose-scale is 9: give 0 to 3"),
        (OptionError("the title is empty: give one"), "the title is empty: give one"),
        (OutputError("a.mp4 exists already: allow overwriting", option="overwrite"), "(--overwrite)"),
        (InputError('choose framing="crop" instead'), "choose --framing crop instead"),
        (InputError("face is a folder"), "face is a folder"),
    ],
)
def test_messages_name_flags(error, text):
    assert text in console.explain(error)


def test_an_error_keeps_its_option_and_text():
    error = OutputError("a.mp4 exists already", option="overwrite")
    assert (str(error), error.option, InputError("x").option) == ("a.mp4 exists already", "overwrite", None)


def test_the_word_at_the_end_says_what_is_left(capfd):
    with process.outcome(lambda: "partial video kept in a.mp4"):
        process.stop()
    assert capfd.readouterr().err == "kptalk: stopped: partial video kept in a.mp4\n"
