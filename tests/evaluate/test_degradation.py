"""The embedded sync metric and the lip metric side by side on one clip that is spoilt more and more."""

import numpy as np
import pytest
import torch
from degrade import frozen, shifted, trembling
from measuring import measure
from media_shared import CLIPS

from kptalk.evaluate.metric import AudioPair
from kptalk.evaluate.metrics.lips import LipMetric
from kptalk.evaluate.metrics.lse import sync_score
from kptalk.evaluate.metrics.sync import SyncMetric, av_offset
from kptalk.evaluate.sampling import read_audio, sample_frames
from kptalk.face.measures import lip_shape

CLIP, OTHER = "grid_msbia_1", "grid_flbbc_1"


@pytest.fixture(scope="module")
def metric():
    return SyncMetric()


def test_late_lips_have_the_same_sign_in_all_lags_and_fit_less(seen, metric):
    samples, sound = seen(CLIP)
    late = [shifted(samples, k) for k in (0, 3, 6, 9)]
    audio = AudioPair(sound, sound)
    synced = [measure(metric, video, samples, audio) for video in late]
    own = synced[0]["av_offset"]
    assert abs(own) <= 1
    np.testing.assert_allclose([values["av_offset"] - own for values in synced], [0, 3, 6, 9], atol=1)
    assert [measure(LipMetric(), video, samples, audio)["lip_lag"] for video in late] == [0, 3, 6, 9]
    fits = [values["sync_r"] for values in synced]
    assert fits[0] > 0.3
    assert max(fits[1:]) < fits[0] - 0.1


@pytest.mark.parametrize("late", [-6, 0, 6])
def test_both_av_offsets_count_the_frames_by_which_the_lips_come_later(metric, late):
    """A GRID clip whose audio is moved by a known number of frames, and planted embeddings for SyncNet's score."""
    path = CLIPS / "grid_s2_1.mp4"
    samples = list(sample_frames(path, None))
    lips = np.stack([lip_shape(s.mesh[None], metric._network.held_points.numpy())[0] for s in samples])
    audio = read_audio(path, len(samples))
    own = av_offset(metric._network, lips, audio)
    moved = av_offset(metric._network, lips[max(0, -late) :], audio[640 * max(0, late) :])
    assert abs(moved.offset - own.offset - late) <= 1
    assert moved.curve.argmax() - 15 == moved.offset
    sound = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    assert sync_score(torch.roll(sound, late, 0), sound).offset == late


def test_sound_of_another_clip_fits_less_in_order(seen, metric):
    (samples, sound), (_, other) = seen(CLIP), seen(OTHER)
    mixed = [np.concatenate([sound[: 640 * k], other[640 * k :]]) for k in (75, 50, 25, 0)]
    fits = [measure(metric, samples, samples, AudioPair(audio, sound))["sync_r"] for audio in mixed]
    assert np.all(np.diff(fits) < -0.02)


@pytest.mark.parametrize("spoil", ["frozen", "trembling", "other face"])
def test_lips_that_say_less_fit_less_in_order(seen, metric, spoil):
    (samples, sound), (others, _) = seen(CLIP), seen(OTHER)
    videos = {
        "frozen": [frozen(samples, k) for k in (75, 50, 25, 0)],
        "trembling": [trembling(samples, pixels) for pixels in (0, 4, 8, 16)],
        "other face": [samples[:k] + others[k:] for k in (75, 50, 25, 0)],
    }[spoil]
    fits = [measure(metric, video, samples, AudioPair(sound, sound))["sync_r"] for video in videos]
    assert np.all(np.diff(fits) < -0.02)
