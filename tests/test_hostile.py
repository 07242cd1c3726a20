"""Damaged and hostile motions and models: one clear line, or a picture in the usual time; never a traceback."""

import time

import numpy as np
import pytest
import torch
from fakes import fake_generator, fake_pipeline, in_both_spaces, plain_portrait, random_motion
from hypothesis import given, settings
from hypothesis import strategies as st
from media_shared import TESTS
from mutations import mutated, use_model, write_model
from safetensors.torch import load_file, save_file

from kptalk.errors import KptalkError, MotionError, WeightsError
from kptalk.media.audio import Speech
from kptalk.motion.control import Controller
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.generator import WINDOW
from kptalk.motion.retarget import retarget
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.options import Control, RetargetOptions
from kptalk.render.mesh.renderer import MeshRenderer
from kptalk.types import BOUNDS, FIELDS, LARGEST, Motion
from kptalk.weights.header import embedded_path
from kptalk.weights.store import load_model

SIDE = 64
TRIAL = sorted((TESTS / "data").glob("motion_huge_*.safetensors"))
ROUNDS = 25  # of a test


@pytest.fixture(scope="module")
def draw(space):
    """Draws a motion on a small portrait."""
    renderer = MeshRenderer(space)
    state = renderer.start(renderer.prepare(plain_portrait(space, SIDE)), 0)

    def drawn(motion):
        frames, _ = renderer.step(motion, state)
        assert frames.shape == (len(motion), SIDE, SIDE, 3)
        return frames

    return drawn


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model folder, untrained."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    write_model(folder)
    return folder


@pytest.mark.parametrize("path", TRIAL, ids=lambda path: path.stem)
def test_motions_of_huge_numbers_are_refused(path):
    assert len(TRIAL) == 3
    with pytest.raises(MotionError, match=r"expression is -?\d.* in frame \d+, expected -10 to 10"):
        Motion.load(path)


@in_both_spaces
@pytest.mark.parametrize("largest", [1, 30, 0.99 * LARGEST])
def test_whatever_a_motion_holds_is_drawn_in_bounded_time(draw, largest, space):
    """Also where nobody looked at its bounds: polygons with corners at 1e9 once were filled for ever."""
    rng, motion = np.random.default_rng(0), random_motion(4, space=space.id)
    fields = {name: rng.uniform(-largest, largest, getattr(motion, name).shape) for name in FIELDS}
    fields["expression"] /= np.sqrt(3)  # it is turned with the head
    begun = time.process_time()
    draw(motion.with_fields(**fields))
    assert time.process_time() - begun < 4


def test_a_face_torn_within_the_bounds_costs_little_more_than_a_still_one(space):
    renderer = MeshRenderer(space)
    state = renderer.start(renderer.prepare(plain_portrait(space, 512)), 0)
    torn = random_motion(3).with_fields(expression=np.random.default_rng(0).uniform(-10, 10, (3, 21, 3)))
    torn.require_bounds()
    begun = time.process_time()
    renderer.step(torn, state)
    assert time.process_time() - begun < 3


@in_both_spaces
@settings(max_examples=60)
@given(
    data=st.data(),
    field=st.sampled_from(FIELDS),
    value=st.one_of(st.floats(width=32), st.floats(-400, 400, width=32)),
    rows=st.slices(5),
)
def test_any_changed_motion_is_refused_or_drawn(draw, space, source, data, field, value, rows):
    motion = random_motion(5, space=space.id)
    numbers = np.array(getattr(motion, field))
    column = data.draw(st.integers(0, numbers[0].size - 1))
    numbers.reshape(5, -1)[rows, column] = value
    try:
        changed = motion.with_fields(**{field: numbers})
        changed.require_bounds()
    except MotionError as error:
        refused = str(error)
    else:
        refused = ""
    low, high = BOUNDS[field]
    assert bool(refused) != bool(((numbers >= low) & (numbers <= high)).all())
    if refused:
        assert field in refused
        return
    how = RetargetOptions(*data.draw(st.sampled_from([("relative", "all"), ("absolute", "all"), ("relative", "lips")])))
    draw(Motion.concatenate(list(retarget([changed], source.motion, space, how))))
    extreme = Control(pose=changed, pose_scale=3, yaw=30, expression_scale=3, mouth_scale=3)
    controller = Controller(space, source, extreme, own_blinks=False)
    draw(controller.step(changed, np.ones(5, np.float32), controller.start(0))[0])


@in_both_spaces
def test_damaged_motion_files_are_refused_or_drawn(tmp_path, draw, space):
    path, rng = tmp_path / "motion.safetensors", np.random.default_rng(20261121)
    random_motion(6, space=space.id).save(path)
    whole, messages = path.read_bytes(), []
    for _ in range(4 * ROUNDS):
        path.write_bytes(mutated(whole, rng))
        try:
            draw(Motion.load(path))
        except MotionError as error:
            messages.append(str(error))
    assert ROUNDS < len(messages) < 4 * ROUNDS
    assert [message for message in messages if "\n" in message] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_damaged_models_are_refused_or_draw_something(model, seed):
    rng, messages = np.random.default_rng([20261121, seed]), []
    assert use_model(model).shape == (2, SIDE, SIDE, 3)
    whole = {path: path.read_bytes() for path in sorted(model.glob("*.safetensors"))}
    for _ in range(ROUNDS):
        path = list(whole)[rng.integers(len(whole))]
        path.write_bytes(mutated(whole[path], rng))
        try:
            use_model(model)
        except KptalkError as error:
            messages.append(str(error))
        path.write_bytes(whole[path])
    assert ROUNDS / 4 < len(messages) < ROUNDS
    assert [message for message in messages if "\n" in message] == []


def test_a_motion_given_in_python_is_looked_at_too(space):
    pipeline, portrait = fake_pipeline(space), plain_portrait(space)
    motion = random_motion(5)
    torn = motion.with_fields(expression=motion.expression + 11)
    for given_motion in (torn, motion[:0]):
        with pytest.raises(MotionError):
            pipeline.reenact(portrait, given_motion)
    with pytest.raises(MotionError, match="expression is 1"):
        list(pipeline.animate(portrait, np_speech(), pose=torn).frames())
    more = random_motion(5).with_fields(expression=np.zeros((5, 22, 3), np.float32))
    with pytest.raises(MotionError, match="22 keypoints, expected 21"):
        pipeline.reenact(portrait, more)


def np_speech():
    return Speech.from_samples(np.zeros(8000, np.float32), 16_000)


@pytest.mark.parametrize(("name", "damage"), [("decoder", b"\xff" * 4), ("template", b"\xff" * 4)])
def test_four_damaged_bytes_of_the_motion_space_are_found(tmp_path, name, damage):
    """As in a file whose bytes were overwritten with 0xff: one number is NaN."""
    tensors = load_file(embedded_path("facemesh"))
    marked = tensors[name].clone()
    marked.view(-1)[7] = float(np.frombuffer(damage, np.float32)[0])
    save_file(tensors | {name: marked}, tmp_path / "facemesh.safetensors")
    with pytest.raises(WeightsError, match=f"damaged: {name} holds numbers that no motion space has"):
        FaceMeshSpace.load(tmp_path / "facemesh.safetensors")


def test_a_misshaped_motion_space_is_found(tmp_path):
    tensors = load_file(embedded_path("facemesh"))
    save_file(tensors | {"gaze": tensors["gaze"][:1].clone()}, tmp_path / "facemesh.safetensors")
    with pytest.raises(WeightsError, match=r"damaged: gaze is float32 \(1, 63\), expected \(2, 63\)"):
        FaceMeshSpace.load(tmp_path / "facemesh.safetensors")


def test_numbers_of_a_network_that_are_not_finite_are_found(model, tmp_path):
    content = bytearray((model / "motion.safetensors").read_bytes())
    content[-4:] = b"\xff" * 4
    (tmp_path / "motion.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"are not finite: \S+ holds NaN or infinity"):
        load_model(tmp_path / "motion.safetensors", Denoiser, DenoiserConfig)


def test_an_architecture_of_absurd_size_takes_no_memory(model, tmp_path):
    content = (model / "motion.safetensors").read_bytes()
    for old, new in ((b'\\"dim\\": 16', b'\\"dim\\": 4096'), (b'\\"window\\": 64', b'\\"window\\": 99999')):
        size = int.from_bytes(content[:8], "little")
        header = content[8 : 8 + size].replace(old, new)
        assert header != content[8 : 8 + size]
        (tmp_path / "motion.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
        with pytest.raises(WeightsError, match=r"do not fit the architecture|a size is above 4096"):
            load_model(tmp_path / "motion.safetensors", Denoiser, DenoiserConfig)


@pytest.mark.parametrize(
    ("part", "factor", "message"),
    [
        ("encoder", 1e30, "audio encoder gives numbers up to"),
        ("encoder", np.nan, "audio encoder gives numbers that are not finite"),
        ("denoiser", 1e6, "denoiser gives numbers up to"),
        ("denoiser", np.nan, "denoiser gives numbers that are not finite"),
    ],
)
def test_networks_whose_output_makes_no_motion_are_named(space, source, part, factor, message):
    """As of weights whose blocks were swapped: finite, and of no use."""
    generator = fake_generator(space)
    getattr(generator, part).register_forward_hook(lambda _, __, output: output * factor)
    with pytest.raises(WeightsError, match=f"the model's {message}"):
        generator.step(np.ones((WINDOW, 80, 16), np.float32), generator.start(source, 0))


def test_swapped_blocks_of_the_audio_network(tmp_path):
    """The embedded model's, as the trial had it: an error of weights."""
    rng, content = np.random.default_rng(3), bytearray(embedded_path("audio").read_bytes())
    for a, b in rng.integers(200, len(content) // 64, (2000, 2)) * 64:
        content[a : a + 64], content[b : b + 64] = content[b : b + 64], content[a : a + 64]
    for path in embedded_path("audio").parent.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "audio.safetensors").unlink()
    (tmp_path / "audio.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"audio encoder gives numbers|denoiser gives numbers|are not finite"):
        use_model(tmp_path)
