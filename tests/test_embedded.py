"""The embedded weights, of both methods: what a listener would notice at once, measured on the motion."""

import numpy as np
import pytest
import torch
from fakes import same
from media_shared import TESTS, portrait_of

from kptalk.audio.windows import SpeechWindows
from kptalk.face.measures import lid_opening, lip_opening
from kptalk.media.audio import Speech
from kptalk.motion.facemesh.generator import LOOKAHEAD, OVERLAP
from kptalk.motion.generator import FPS, WINDOW
from kptalk.options import Control, Options
from kptalk.pipeline import Pipeline
from kptalk.types import Motion

STRIDE = WINDOW - LOOKAHEAD - OVERLAP
PORTRAITS = ["grid_s2_1@0", "grid_flbbc_1@0", "grid_mlbax_1@59"]  # the second with open lips
SPEECH = TESTS.parent / "examples" / "speech.mp3"


@pytest.fixture(scope="module", params=["embedded", "landmark"])
def pipeline(request):
    """Fails where the weights of the package are damaged."""
    return Pipeline.from_pretrained(request.param, "cpu")


def test_loading_changes_nothing_of_the_process():
    """A server or notebook keeps its own number of threads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        Pipeline.from_pretrained("embedded", "cpu")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module", params=PORTRAITS)
def source(request, pipeline):
    return pipeline.method.space.extract(portrait_of(request.param))


@pytest.fixture(scope="module")
def one(pipeline):
    return pipeline.method.space.extract(portrait_of(PORTRAITS[0]))


def motion_of(pipeline, source, speech, seed=0, **control):
    options = Options(seed=seed, control=Control(**control))
    return Motion.concatenate(list(pipeline.method.generate(source, SpeechWindows(speech.chunks(), FPS), options)))


def openings(pipeline, source, motion):
    """Lip opening in face heights, and lid opening over the photo's."""
    meshes = pipeline.method.space.vertices(source, motion)
    lids = lid_opening(meshes).mean(-1)
    return lip_opening(meshes) / np.ptp(meshes[0, :, 1]), lids / lids[0]


@pytest.mark.slow
def test_ten_seconds_of_silence(pipeline, source):
    with pytest.warns(UserWarning, match="no sound at all"):
        motion = motion_of(pipeline, source, Speech.from_samples(np.zeros(160_000, np.float32), 16_000))
    lips, lids = openings(pipeline, source, motion)
    assert lips.std() < 0.01
    assert abs(np.median(lips)) < 0.01
    blinks = int((np.diff((lids < 0.5).astype(int)) == 1).sum())
    assert 1 <= blinks <= 6
    assert 0.3 < motion.rotation.std(0).max() < 6
    assert np.abs(np.diff(motion.rotation, axis=0)).max() < 3


@pytest.mark.slow
def test_speech_moves_the_lips_with_its_sound(pipeline, source):
    """Where nothing is said, the lips rest; here for 1.6 s in the middle."""
    sound = np.concatenate(list(Speech.open(SPEECH).chunks()))
    paused = np.concatenate([sound[:48_000], np.zeros(25_600, np.float32), sound[48_000:96_000]])
    lips, _ = openings(pipeline, source, motion_of(pipeline, source, Speech.from_samples(paused, 16_000)))
    assert lips.std() > 0.012
    assert 0.04 < lips.max() < 0.3
    assert lips[75 + 5 : 75 + 40 - 5].mean() < 0.5 * lips.mean()


@pytest.mark.slow
def test_windows_join_without_a_jerk(pipeline, one):
    motion = motion_of(pipeline, one, Speech.open(SPEECH))
    points = pipeline.method.space.vertices(one, motion)[:, ::7] / one.unit
    jerk = np.linalg.norm(np.diff(points, 3, axis=0), axis=-1).mean(1)
    first = np.arange(WINDOW - LOOKAHEAD, len(motion) - STRIDE, STRIDE)
    at_joins = np.unique(np.concatenate([first - 3, first - 2, first - 1]))
    inside = np.delete(jerk, at_joins)
    assert len(first) >= 3
    assert np.quantile(jerk[at_joins], 0.95) <= 1.1 * np.quantile(inside, 0.95)


def test_seeds(pipeline, one):
    speech = Speech.from_samples(np.concatenate(list(Speech.open(SPEECH).chunks()))[:4800], 16_000)
    first, again, other = (motion_of(pipeline, one, speech, seed) for seed in (5, 5, 6))
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.slow
def test_the_recording_level_does_not_open_the_mouth(pipeline, one):
    """From loud to hardly audible, and with channels that cancel, one person's lips do the same; silence shuts them."""
    sound = np.concatenate(list(Speech.open(SPEECH).chunks()))[:64_000]
    samples = {name: (gain * sound * 32767).astype(np.int16) for name, gain in (("loud", 1), ("quiet", 0.015))}
    person = motion_of(pipeline, one, Speech.from_samples(sound, 16_000))  # else each level would be another one
    samples["antiphase"] = np.stack([samples["loud"], -samples["loud"]], 1)
    lips = {
        name: openings(pipeline, one, motion_of(pipeline, one, Speech.from_samples(values, 16_000), style=person))[0]
        for name, values in samples.items()
    }
    for name in ("quiet", "antiphase"):
        assert lips[name].std() == pytest.approx(lips["loud"].std(), rel=0.05)
        assert np.corrcoef(lips[name], lips["loud"])[0, 1] > 0.98
    room = np.random.default_rng(0).normal(0, 1e-3, 64_000).astype(np.float32)  # -60 dB
    with pytest.warns(UserWarning, match="hardly any sound"):
        motion = motion_of(pipeline, one, Speech.from_samples(room, 16_000))
    assert np.abs(openings(pipeline, one, motion)[0]).max() < 0.02


def test_two_seeds_differ_as_people_do_and_a_motion_keeps_its_style(pipeline, one, tmp_path):
    speech = Speech.open(SPEECH)
    heads = [motion_of(pipeline, one, speech, seed) for seed in range(4)]
    assert len({motion.style for motion in heads}) == 4
    heads[0].save(tmp_path / "head.safetensors")
    person = Motion.load(tmp_path / "head.safetensors")
    assert person.style == heads[0].style
    again = motion_of(pipeline, one, speech, 3, style=person)
    assert again.style == heads[0].style
    assert not np.allclose(again.rotation, heads[0].rotation, atol=0.5)
