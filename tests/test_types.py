"""Motion: immutable, sliced, joined, saved and loaded; every unusable file is refused in one line."""

import json
import re
import struct
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from fakes import SHAPES, close, random_motion, same
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from kptalk.errors import MotionError, OutputError
from kptalk.types import BOUNDS, FIELDS, Face, Motion

LENGTHS = st.integers(1, 60)


@given(LENGTHS, st.integers(0, 99), st.fractions(1, 120, max_denominator=1001))
def test_what_was_saved_comes_back(tmp_path_factory, length, seed, fps):
    path = tmp_path_factory.mktemp("motion") / "ein Kopf 😀.safetensors"
    motion = random_motion(length, seed, fps, "of tests")
    motion.save(path)
    loaded = Motion.load(path)
    assert same(loaded, motion)
    assert (loaded.fps, loaded.space) == (fps, "of tests")


def test_equal_motions_give_equal_files(tmp_path):
    motion = random_motion(5).with_style(np.array([0.5, -1.0]))
    for number in range(16):
        motion.save(tmp_path / f"{number}.safetensors")
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1
    (content,) = contents
    assert int.from_bytes(content[:8], "little") % 8 == 0
    assert Motion.load(tmp_path / "0.safetensors").style == motion.style


@given(LENGTHS, st.data())
def test_slices_joined_give_the_whole(length, data):
    motion = random_motion(length)
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=4)))
    edges = [0, *cuts, length]
    parts = [motion[a:b] for a, b in pairwise(edges)]
    assert sum(map(len, parts)) == length
    assert same(Motion.concatenate(parts), motion)


def test_motion_cannot_be_changed():
    motion = random_motion(5)
    for name in FIELDS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(motion, name)[0] = 1
    with pytest.raises(AttributeError):
        motion.fps = Fraction(30)


def test_motion_shares_nothing_with_what_it_was_made_of():
    fields = {name: np.zeros((3, *tail), np.float32) for name, tail in SHAPES.items()}
    motion = Motion(**fields, fps=Fraction(25), space="facemesh")
    for value in fields.values():
        value[:] = 9  # the caller's own arrays stay writable ...
    assert same(motion, motion.with_fields(**{name: np.zeros_like(v) for name, v in fields.items()}))


@pytest.mark.parametrize("name", FIELDS)
def test_fields_must_fit_each_other(name):
    motion = random_motion(4)
    with pytest.raises(MotionError, match="shape"):
        motion.with_fields(**{name: getattr(motion, name)[:3]})


@pytest.mark.parametrize("other", [{"fps": Fraction(30)}, {"space": "liveportrait"}])
def test_only_motions_of_one_kind_can_be_joined(other):
    with pytest.raises(MotionError, match="one space and one frame rate"):
        Motion.concatenate([random_motion(3), random_motion(3, **other)])


def stored(path, header=None, **fields):
    motion = random_motion(3)
    tensors = {name: np.array(getattr(motion, name)) for name in FIELDS} | fields
    usual = {"kptalk": "motion", "fps": "25", "space": "facemesh"}
    save_file({k: v for k, v in tensors.items() if v is not None}, path, metadata=usual | (header or {}))


BAD = {
    "absent": None,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no motion at all, but some text"),
    "absurd header": lambda path: path.write_bytes(struct.pack("<Q", 2**62) + json.dumps({}).encode()),
    "folder": lambda path: path.mkdir(),
    "other safetensors": lambda path: save_file({"a": np.zeros(3)}, path),
    "without a field": lambda path: stored(path, rotation=None),
    "misshaped field": lambda path: stored(path, expression=np.zeros((3, 21, 2), np.float32)),
    "no keypoints": lambda path: stored(path, expression=np.zeros((3, 0, 3), np.float32)),
    "fields of unequal length": lambda path: stored(path, rotation=np.zeros((4, 3), np.float32)),
    "no frames": lambda path: stored(path, **{n: np.zeros((0, *t), np.float32) for n, t in SHAPES.items()}),
    "NaN": lambda path: stored(path, rotation=np.full((3, 3), np.nan, np.float32)),
    "fps of no number": lambda path: stored(path, {"fps": "fast"}),
    "fps over zero": lambda path: stored(path, {"fps": "1/0"}),
    "negative fps": lambda path: stored(path, {"fps": "-25"}),
    "fps of zero": lambda path: stored(path, {"fps": "0"}),
    "absurd fps": lambda path: stored(path, {"fps": "1000000000"}),
    "fps that would take for ever": lambda path: stored(path, {"fps": "1e999999999"}),
    "no space": lambda path: stored(path, {"space": ""}),
    "endless space": lambda path: stored(path, {"space": "x" * 10**6}),
    "booleans": lambda path: stored(path, scale=np.ones((3, 1), bool)),
    "numbers beyond float32": lambda path: stored(path, scale=np.full((3, 1), 1e300)),
    "no scale at all": lambda path: stored(path, scale=np.zeros((3, 1), np.float32)),
    "dimensions": lambda path: stored(path, scale=np.array(1, np.float32)),
}


@pytest.mark.parametrize("kind", BAD)
def test_unusable_files_are_refused(tmp_path, kind):
    path = tmp_path / "motion.safetensors"
    if BAD[kind]:
        BAD[kind](path)
    with pytest.raises(MotionError) as caught:
        Motion.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("scale", 21), ("rotation", -361), ("translation", 101), ("expression", 11)]
)
def test_numbers_out_of_bounds_are_named(tmp_path, name, value):
    motion = random_motion(4)
    numbers = np.array(getattr(motion, name))
    numbers[2].flat[0] = value
    changed = motion.with_fields(**{name: numbers})  # options may amplify a motion this far
    changed.save(tmp_path / "motion.safetensors")
    low, high = BOUNDS[name]
    expected = re.escape(f"motion field {name} is {value} in frame 2, expected {low:g} to {high:g}")
    with pytest.raises(MotionError, match=expected):
        Motion.load(tmp_path / "motion.safetensors")


@pytest.mark.parametrize("value", [np.nan, np.inf, 2e6, -2e6])
@pytest.mark.parametrize("name", FIELDS)
def test_no_motion_holds_what_arithmetic_cannot_bear(name, value):
    motion = random_motion(4)
    with pytest.raises(MotionError, match=f"motion field {name} is .* in frame 0"):
        motion.with_fields(**{name: np.full_like(getattr(motion, name), value)})


@pytest.mark.parametrize("value", ["text", [[1], [2, 3]], np.ones((4, 1), complex), None, 1.0])
def test_fields_are_arrays_of_numbers(value):
    with pytest.raises(MotionError, match="motion field scale"):
        random_motion(4).with_fields(scale=value)


@pytest.mark.parametrize("fps", [0, 121, float("nan"), float("inf"), "fast", None, Fraction(10**400), Fraction(1, 2)])
def test_frame_rates_that_no_video_has_are_refused(fps):
    motion = random_motion(2)
    with pytest.raises(MotionError, match=r"frame rate|frames per second"):
        Motion(**{name: getattr(motion, name) for name in FIELDS}, fps=fps, space="facemesh")


def test_other_number_types_and_more_in_the_file_do_no_harm(tmp_path):
    stored(tmp_path / "m.safetensors", {"note": "x" * 10_000}, scale=np.ones((3, 1), np.int64), extra=np.ones(3))
    assert (Motion.load(tmp_path / "m.safetensors").scale == 1).all()


def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "motion.safetensors"
    random_motion(30).save(path)
    whole = path.read_bytes()
    for share in (0.02, 0.5, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(MotionError):
            Motion.load(path)


def test_motion_of_another_space_is_refused():
    motion = random_motion(2, space="liveportrait")
    motion.require_space("liveportrait")
    with pytest.raises(MotionError, match="motion is of the space 'liveportrait', expected 'facemesh'"):
        motion.require_space("facemesh")


def test_saving_where_nothing_can_be_written_says_so(tmp_path):
    with pytest.raises(OutputError, match="nowhere"):
        random_motion(2).save(tmp_path / "nowhere" / "motion.safetensors")


def test_box_of_a_face_lies_around_its_landmarks():
    landmarks = np.random.default_rng(0).uniform(10, 90, (478, 3)).astype(np.float32)
    x0, y0, x1, y1 = Face(landmarks).box
    assert (landmarks[:, :2] >= (x0, y0)).all()
    assert (landmarks[:, :2] <= (x1, y1)).all()


def test_close_is_no_tautology():
    assert not close(random_motion(3, 0), random_motion(3, 1))
