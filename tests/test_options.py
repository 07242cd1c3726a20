"""Options: bounds and names in one place; what a job file holds comes back; the command line has the same names."""

import inspect
import json
from dataclasses import MISSING, fields
from fractions import Fraction

import numpy as np
import pytest
from fakes import random_motion
from hypothesis import given
from hypothesis import strategies as st

from kptalk.cli.animate import animate
from kptalk.errors import OptionError
from kptalk.options import Control, Options, ReenactOptions, RetargetOptions, help_of, parse_fps
from kptalk.validation import shown

NTSC = Fraction(30000, 1001)
NUMBERED = [
    (kind, each.name, *each.metadata["bounds"])
    for kind in (Control, Options, ReenactOptions)
    for each in fields(kind)
    if each.metadata.get("bounds")
]


@pytest.mark.parametrize(("kind", "name", "low", "high"), NUMBERED)
def test_every_number_has_bounds(kind, name, low, high):
    kind(**{name: low})
    kind(**{name: high})
    for value in (low - 1, high + 1, float("nan"), float("inf"), "many", True, [1]):
        with pytest.raises(OptionError, match=f"^{name} is .*: give .*{low} to {high}"):
            kind(**{name: value})


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        *((RetargetOptions, {"mode": "both"}), (RetargetOptions, {"region": "nose"}), (Options, {"framing": "half"})),
        *((Control, {"pose": ""}), (Control, {"pose": "Still"}), (Control, {"pose": random_motion(1)[:0]})),
        *((Control, {"style": "brisk"}), (Control, {"style": random_motion(1)[:0]})),
    ],
    ids=str,
)
def test_choices_that_do_not_exist(kind, bad):
    (name,) = bad
    with pytest.raises(OptionError, match=f"{name} is "):
        kind(**bad)


JOBS = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "fps": st.sampled_from([24, 25, 29.97, "30000/1001", "50"]),
        "size": st.integers(64, 4096),
        "framing": st.sampled_from(["full", "crop"]),
        "steps": st.integers(1, 1000),
        "stitch": st.booleans(),
        "pose": st.sampled_from(["auto", "still", "head.safetensors", "somebody.mp4"]),
        "style": st.sampled_from(["auto", "calm", "lively", "head.safetensors", "somebody.mp4"]),
        "liveliness": st.floats(-4, 4),
        "head_spread": st.none() | st.floats(0.1, 20),
        "mouth_scale": st.floats(0, 3),
        "yaw": st.floats(-30, 30),
        "blinks": st.floats(0, 60),
        "silence_gate": st.booleans(),
    },
)


@given(JOBS)
def test_a_job_is_json_and_comes_back(job):
    options = Options.from_dict(job)
    written = json.loads(json.dumps(options.to_dict()))
    assert Options.from_dict(written) == options
    assert set(written) <= set(job)


def test_what_no_job_can_hold():
    with pytest.raises(OptionError, match="unknown options: colour, loud"):
        Options.from_dict({"loud": 1, "colour": 2, "seed": 3})
    with pytest.raises(OptionError, match="save it"):
        Options(control=Control(pose=random_motion(3))).to_dict()


@pytest.mark.parametrize("name", ["steps", "size", "seed"])
def test_half_a_step_is_none(name):
    with pytest.raises(OptionError, match=f"{name} is 99.5"):
        Options(**{name: 99.5})


def test_single_options_change_those_given():
    options = Options(seed=3, control=Control(yaw=4)).changed(seed=5, mouth_scale=0.5, fps=29.97)
    assert (options.seed, options.fps) == (5, Fraction(30000, 1001))
    assert (options.control.yaw, options.control.mouth_scale) == (4, 0.5)


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("25", 25),
        (25.0, 25),
        ("29.97", Fraction(30000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        (Fraction(24), 24),
    ],
)
def test_frame_rates_as_users_write_them(written, rate):
    assert parse_fps(written) == rate


@pytest.mark.parametrize("written", ["fast", "25/0", "", None, float("nan"), float("inf")])
def test_what_is_no_frame_rate(written):
    with pytest.raises(OptionError, match="fps is"):
        parse_fps(written)


NO_RATES = ["1e999999999", "1e-999999999", "9" * 50, "-5", "1/0", 10**5000, True, [25], b"25"]


@pytest.mark.parametrize("written", NO_RATES, ids=shown)
def test_what_would_be_no_frame_rate_or_fill_the_memory(written):
    for make in (parse_fps, lambda fps: Options(fps=fps), lambda fps: Options().changed(fps=fps)):
        with pytest.raises(OptionError, match=r"fps is .*: give 1 to 120, such as 25, 29\.97 or 30000/1001"):
            make(written)


WAYS = [29.97, "29.97", "30000/1001", 30000 / 1001, NTSC, np.float32(29.97), Fraction(2997, 100)]


@pytest.mark.parametrize("given", WAYS)
def test_every_way_to_write_a_frame_rate_is_kept_as_one(given):
    for options in (Options(fps=given), ReenactOptions(fps=given), Options().changed(fps=given)):
        assert options.fps == NTSC
        assert isinstance(options.fps, Fraction)
        assert type(options).from_dict(json.loads(json.dumps(options.to_dict()))) == options


def test_numbers_may_be_text():
    options = Options(size="512", seed=" 7 ", steps="10", fps="50", control=Control(yaw="-4.5", blinks="12"))
    assert options == Options(size=512, seed=7, steps=10, fps=50, control=Control(yaw=-4.5, blinks=12))
    assert Options.from_dict({"size": "512", "yaw": "3"}) == Options(size=512, control=Control(yaw=3))


WRONG = [
    *((Options, "seed", None), (Options, "size", "big"), (Options, "size", "512.5"), (Options, "steps", 3.5)),
    *((Options, "stitch", "no"), (Options, "framing", None), (Options, "framing", ["full"]), (Options, "fps", None)),
    *((Options, "control", {"yaw": 3}), (Options, "control", None), (Options, "seed", 10**5000)),
    *((Control, "yaw", None), (Control, "yaw", 10**400), (Control, "blinks", "many"), (Control, "silence_gate", 1)),
    *((Control, "ease_in_out", "yes"), (Control, "pose", 3), (Control, "pose", None), (Control, "pose", b"still")),
    *((Control, "pose_scale", np.zeros(2)), (Control, "mouth_scale", 1j), (Control, "roll", "nan")),
    *((RetargetOptions, "mode", 1), (ReenactOptions, "retarget", "absolute"), (ReenactOptions, "fps", "film")),
]


@pytest.mark.parametrize(("kind", "name", "value"), WRONG, ids=shown)
def test_wrong_types_are_named_with_what_is_accepted(kind, name, value):
    with pytest.raises(OptionError, match=f"^{name} is .*: give ") as caught:
        kind(**{name: value})
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


def test_a_value_that_cannot_be_shown():
    class Odd:
        def __repr__(self):
            raise RuntimeError

    with pytest.raises(OptionError, match="seed is a Odd: give a whole number from 0 to"):
        Options(seed=Odd())


def test_only_what_differs_from_the_defaults_is_shown():
    assert repr(Options()) == "Options()"
    options = Options(fps=29.97, framing="crop", control=Control(yaw=4, pose="still"))
    assert repr(options) == "Options(framing='crop', fps='30000/1001', control=Control(pose='still', yaw=4.0))"
    assert eval(repr(options)) == options
    assert repr(ReenactOptions(retarget=RetargetOptions("absolute"))) == (
        "ReenactOptions(retarget=RetargetOptions(mode='absolute'))"
    )
    assert "pose=<Motion of space 'facemesh': 3 frames" in repr(Control(pose=random_motion(3)))


def test_options_with_motions_can_be_compared():
    with_motion = [Options(control=Control(pose=random_motion(3, seed))) for seed in (0, 0, 1)]
    assert with_motion[0] == with_motion[1] != with_motion[2] != Options()


def test_numbers_of_numpy_are_numbers():
    options = Options(seed=np.int64(7), size=512.0, control=Control(yaw=np.float32(2)))
    assert json.dumps(options.to_dict()) == '{"size": 512, "seed": 7, "yaw": 2.0}'
    assert isinstance(options.size, int)
    assert Control(silence_gate=np.bool_(False)).silence_gate is False


def test_the_command_line_has_the_same_names_defaults_and_help():
    parameters = inspect.signature(animate).parameters
    not_on_the_command_line = {"silence_gate", "ease_in_out", "control"}
    for kind in (Options, Control):
        for each in fields(kind):
            if each.name in not_on_the_command_line:
                continue
            assert each.name in parameters
            assert each.default is not MISSING
            if each.name not in ("fps", "blinks"):  # text there, parsed
                assert parameters[each.name].default == each.default
            if each.name != "blinks":
                assert help_of(kind, each.name)
