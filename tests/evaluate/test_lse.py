"""LSE-C, LSE-D and offset: the reference's numbers, its crop, known offsets, and frames that are not kept."""

import weakref

import numpy as np
import pytest
import torch
from measuring import measure, with_network
from media_shared import CLIPS
from parity_weights import weights
from scipy.signal import medfilt

from kptalk.evaluate.metric import AudioPair, FrameSample
from kptalk.evaluate.metrics.lse import FaceCrops, SyncNetMetric, crop_face, detector_box, sync_score
from kptalk.evaluate.metrics.mfcc import mfcc
from kptalk.evaluate.sampling import read_audio, sample_frames
from kptalk.networks.syncnet import SyncNet, SyncNetConfig
from kptalk.weights.store import save_model

NOISE = 6.7e-6  # of the reference's embeddings; a distance adds up 1024 of them
KEYS = ["lse_c", "lse_d", "syncnet_offset"]


@pytest.fixture(scope="module")
def fixture(parity):
    return np.load(parity / "fixtures/syncnet.npz")


@pytest.fixture(scope="module")
def network(parity):
    network = SyncNet()
    network.load_state_dict(weights(parity, "syncnet"))
    return network.eval()


@pytest.fixture(scope="module")
def val_clip():
    path = CLIPS / "grid_mlbax_1.mp4"
    frames = list(sample_frames(path, 1))
    assert len(frames) == 25
    return frames, read_audio(path, 25)


def run(network, frames, sound):
    return measure(with_network(SyncNetMetric, network), frames, audio=AudioPair(sound, sound))


def faces(count, size=120, seed=0):
    """Grey pictures of known brightness with a mesh that wanders."""
    rng = np.random.default_rng(seed)
    mesh = rng.uniform(0.3, 0.7, (478, 3)) * size
    levels = rng.integers(0, 256, count)
    walks = rng.normal(0, 1, (count, 1, 3)).cumsum(0)
    return [
        FrameSample(np.full((size, size, 3), level, np.uint8), (mesh + walk).astype(np.float32))
        for level, walk in zip(levels, walks, strict=True)
    ]


class Brightness:
    """Stands in for SyncNet: its vectors are the brightness of five frames, and the loudness of five frames' sound."""

    def lips(self, frames):
        return frames[:, :, 112, 112].mean(1).unfold(0, 5, 1)

    def sound(self, mfccs):
        return 50 * (mfccs[:, 0, 0:20:4] - 13.8)  # the logarithm of the quietest frame's energy


def loudness(levels):
    """Noise whose loudness in frame k tells the brightness ``levels[k]``, see ``Brightness``."""
    noise = np.random.default_rng(1).choice([-1.0, 1.0], (len(levels), 640))
    return (noise * np.exp(levels / 100)[:, None] / 32768 * 50).ravel().astype(np.float32)


@pytest.mark.parametrize(
    ("name", "shift", "prefix"), [("net", 15, "net"), ("rnd", 15, "rnd"), ("rnd", 10, "rnd_vshift10")]
)
def test_scores_equal_the_reference(fixture, name, shift, prefix):
    lips, sound = {
        "net": (fixture["lip_embedding"], fixture["audio_embedding"]),
        "rnd": (fixture["rnd_video_emb"], fixture["rnd_audio_emb"]),
    }[name]
    score = sync_score(torch.from_numpy(lips).float(), torch.from_numpy(sound).float(), shift)
    near = {"atol": 10 * NOISE, "rtol": 1e-5}
    np.testing.assert_allclose(score.distances, fixture[f"{prefix}_dists"], **near)
    np.testing.assert_allclose(score.distances.mean(0), fixture[f"{prefix}_mdist"], **near)
    np.testing.assert_allclose(score.lse_d, fixture[f"{prefix}_min_dist_LSE_D"], **near)
    np.testing.assert_allclose(score.lse_c, fixture[f"{prefix}_confidence_LSE_C"], **near)
    np.testing.assert_allclose(score.framewise, fixture[f"{prefix}_framewise_conf"], **near)
    assert score.offset == fixture[f"{prefix}_offset"]


@pytest.mark.slow
def test_whole_meter_equals_the_reference(fixture, network, monkeypatch):
    """The fixture's 30 ready-made crops and its sound, through the meter's own batches and windows."""
    base = fixture["lip_base_u8"]
    frames = [base[:, t : t + 28].repeat(8, 0).repeat(8, 1)[..., ::-1] for t in range(30)]  # stored as BGR
    monkeypatch.setattr("kptalk.evaluate.metrics.lse.crop_face", lambda image, x, y, half: image)
    frames = [FrameSample(frame, np.zeros((478, 3), np.float32)) for frame in frames]
    values = run(network, frames, fixture["wav_int16_3s"].astype(np.float32) / 32768)
    expected = [fixture[f"net_{name}"] for name in ("confidence_LSE_C", "min_dist_LSE_D", "offset")]
    np.testing.assert_allclose([values[key] for key in KEYS], expected, atol=1e-4, rtol=1e-5)


def test_crop_is_the_reference_geometry():
    """The same crop, cut from the picture padded on all sides by 1.8 halves."""
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (100, 130, 3), np.uint8)
    for x, y, half in [(60.3, 50.2, 20.7), (10.0, 12.5, 30.1), (128.0, 95.0, 18.0), (65.0, 40.0, 70.0)]:
        pad = int(half * 1.8)
        padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), constant_values=110)
        top, bottom = int(y + pad - half), int(y + pad + half * 1.8)
        left, right = int(x + pad - half * 1.4), int(x + pad + half * 1.4)
        expected = cv2.resize(padded[top:bottom, left:right], (224, 224))
        assert np.array_equal(crop_face(image, x, y, half), expected)


def test_crop_beyond_the_picture_is_grey():
    assert (crop_face(np.zeros((50, 50, 3), np.uint8), 500, -400, 20) == 110).all()


def test_boxes_are_smoothed_as_by_medfilt(monkeypatch):
    seen = []
    monkeypatch.setattr("kptalk.evaluate.metrics.lse.crop_face", lambda image, *box: seen.append(box) or image)
    frames = faces(40)
    crops = FaceCrops()
    given = [crops.push(frame) for frame in frames]
    assert [crop is None for crop in given] == [True] * 6 + [False] * 34
    given = given[6:] + crops.finish()
    assert all(crop is frame.image for crop, frame in zip(given, frames, strict=True))
    boxes = np.array([detector_box(frame.mesh) for frame in frames])
    x, y = (boxes[:, :2] + boxes[:, 2:]).T / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(1) / 2
    np.testing.assert_allclose(seen, np.stack([medfilt(values, 13) for values in (x, y, half)], 1), rtol=1e-6)


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_finds_known_offsets(late):
    frames = faces(60)
    levels = np.array([frame.image[0, 0, 0] for frame in frames], float)
    values = run(Brightness(), frames, loudness(np.roll(levels, -late)))
    assert values["syncnet_offset"] == late


def planted(frames=200, width=64):
    """Unit vectors for the sound's windows."""
    vectors = torch.randn(frames, width, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(vectors, dim=1)


def test_planted_shifts_are_found_and_cost_nothing_as_far_as_is_looked():
    sound = planted()
    scores = [sync_score(torch.roll(sound, late, 0), sound) for late in (0, 3, -7, 15)]
    assert [score.offset for score in scores] == [0, 3, -7, 15]
    assert all(score.lse_c > 1 for score in scores)
    beyond = sync_score(torch.roll(sound, 20, 0), sound)
    assert beyond.lse_c < 0.1 < 1 < beyond.lse_d


@pytest.mark.parametrize("other", [planted(width=64).flip(0), planted()[:1].expand(200, -1)])
def test_lips_that_fit_less_score_worse_in_order(other):
    """Towards lips of other words, and towards lips that stand still."""
    sound = planted()
    scores = [sync_score((1 - share) * sound + share * other, sound) for share in (0, 0.2, 0.4, 0.7, 1)]
    assert np.all(np.diff([score.lse_c for score in scores]) < -0.05)
    assert np.all(np.diff([score.lse_d for score in scores[:-1]]) > 0.05)


def test_another_clips_sound_scores_worse():
    frames = faces(60)
    levels, others = (np.array([s.image[0, 0, 0] for s in faces(60, seed=k)], float) for k in (0, 5))
    own, foreign = run(Brightness(), frames, loudness(levels)), run(Brightness(), frames, loudness(others))
    assert own["lse_c"] > 2 * foreign["lse_c"]
    assert own["lse_d"] < 0.5 * foreign["lse_d"]


def test_sound_begins_with_the_first_face():
    frames = faces(60)
    levels = np.array([frame.image[0, 0, 0] for frame in frames], float)
    frames[:7] = [FrameSample(frame.image, None) for frame in frames[:7]]
    sound = loudness(levels)
    values = run(Brightness(), frames, sound)
    assert values["syncnet_offset"] == 0
    assert values == run(Brightness(), frames[7:], sound[7 * 640 :])


def test_frames_without_a_face_have_the_box_of_the_frame_before():
    frames = faces(40)
    held = [FrameSample(frame.image, frames[19].mesh) if 20 <= k < 30 else frame for k, frame in enumerate(frames)]
    blind = [FrameSample(frame.image, None) if 20 <= k < 30 else frame for k, frame in enumerate(frames)]
    crops = []
    for version in (held, blind):
        cutter = FaceCrops()
        pushed = [cutter.push(frame) for frame in version][6:] + cutter.finish()
        crops.append(np.stack(pushed))
    assert np.array_equal(*crops)


@pytest.mark.parametrize("frames", [0, 1, 4, 5, 6])
def test_short_clips_give_nan(frames):
    values = run(Brightness(), faces(frames), np.zeros(frames * 640, np.float32))
    assert list(values) == KEYS
    assert np.isnan(list(values.values())).all()


def test_nothing_without_a_face_or_sound():
    blind = [FrameSample(frame.image, None) for frame in faces(30)]
    assert np.isnan(list(run(Brightness(), blind, np.zeros(30 * 640, np.float32)).values())).all()
    assert np.isnan(list(run(Brightness(), faces(30), np.zeros(0, np.float32)).values())).all()


def test_seven_frames_are_enough():
    frames = faces(7)
    assert np.isfinite(list(run(Brightness(), frames, np.zeros(7 * 640, np.float32)).values())).all()


def test_frames_are_let_go(monkeypatch):
    """After 200 frames six pictures wait for the median, and some crops for their batch."""
    pictures, crops = [], []

    def crop(image, *box):
        cut = crop_face(image, *box)
        crops.append(weakref.ref(cut))
        return cut

    monkeypatch.setattr("kptalk.evaluate.metrics.lse.crop_face", crop)
    metric = with_network(SyncNetMetric, Brightness())
    mesh = faces(1)[0].mesh
    for level in range(200):
        image = np.full((120, 120, 3), level, np.uint8)
        pictures.append(weakref.ref(image))
        metric.update(FrameSample(image, mesh), FrameSample(image, mesh))
        del image
    assert sum(picture() is not None for picture in pictures) == 6
    assert len(crops) == 194
    assert sum(cut() is not None for cut in crops) <= 12


@pytest.mark.slow
def test_streaming_equals_one_piece(network, val_clip):
    frames, sound = val_clip
    values = run(network, frames, sound)
    crops = FaceCrops()
    pictures = [crop for frame in frames if (crop := crops.push(frame)) is not None] + crops.finish()
    assert len(pictures) == 25
    cepstra = mfcc(np.rint(sound * 32768).astype(np.int16))
    with torch.inference_mode():
        frames = torch.from_numpy(np.stack(pictures)[..., ::-1].copy()).permute(0, 3, 1, 2).float()
        lips = network.lips(frames)[:20]
        windows = torch.stack([torch.from_numpy(cepstra[4 * v : 4 * v + 20].T).float() for v in range(20)])
        score = sync_score(lips, network.sound(windows))
    np.testing.assert_allclose([values[key] for key in KEYS], [score.lse_c, score.lse_d, score.offset], rtol=1e-4)


def test_judge_loads_a_file_and_names_it(tmp_path, network):
    path = tmp_path / "syncnet.safetensors"
    save_model(path, network, SyncNetConfig())
    metric = SyncNetMetric(path)
    assert [column.key for column in metric.columns] == KEYS
    assert len(metric.weights["syncnet"]) == 64


def test_detector_box_lies_at_the_top_of_a_lrs3_crop(shared_data):
    """LRS3's clips were cut by the geometry that is imitated: the box found in them should be that of the cut."""
    path = shared_data / "clips" / "val" / "lrs3_JSSc7hYKstI_1.mp4"
    boxes = [detector_box(frame.mesh) for frame in sample_frames(path, 1.0) if frame.mesh is not None]
    x0, y0, x1, y1 = np.median(boxes, axis=0) / 256
    assert abs(y0) < 0.05
    assert abs(y1 - 1 / 1.4) < 0.04
    assert abs((x0 + x1) / 2 - 0.5) < 0.05
