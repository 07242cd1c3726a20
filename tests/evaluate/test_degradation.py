"""The embedded sync judge and the lip judge side by side on one clip that is spoilt more and more."""

import numpy as np
import pytest
from degrade import frozen, shifted, trembling

from kptalk.evaluate.metric import Heard
from kptalk.evaluate.metrics.lips import LipJudge
from kptalk.evaluate.metrics.sync import SyncJudge

CLIP, OTHER = "aoc_1", "katiehill_1"


@pytest.fixture(scope="module")
def judge():
    return SyncJudge()


def test_late_lips_have_the_same_sign_in_all_lags_and_fit_less(seen, measure, judge):
    sights, sound = seen(CLIP)
    late = [shifted(sights, k) for k in (0, 3, 6, 9)]
    heard = Heard(sound, sound)
    synced = [measure(judge, video, sights, heard) for video in late]
    own = synced[0]["av_offset"]
    assert abs(own) <= 1
    np.testing.assert_allclose([values["av_offset"] - own for values in synced], [0, 3, 6, 9], atol=1)
    assert [measure(LipJudge(), video, sights, heard)["lip_lag"] for video in late] == [0, 3, 6, 9]
    fits = [values["sync_r"] for values in synced]
    assert fits[0] > 0.3
    assert max(fits[1:]) < fits[0] - 0.1


def test_sound_of_another_clip_fits_less_in_order(seen, measure, judge):
    (sights, sound), (_, other) = seen(CLIP), seen(OTHER)
    mixed = [np.concatenate([sound[: 640 * k], other[640 * k :]]) for k in (100, 66, 33, 0)]
    fits = [measure(judge, sights, sights, Heard(heard, sound))["sync_r"] for heard in mixed]
    assert np.all(np.diff(fits) < -0.02)


@pytest.mark.parametrize("spoil", ["frozen", "trembling", "other face"])
def test_lips_that_say_less_fit_less_in_order(seen, measure, judge, spoil):
    (sights, sound), (others, _) = seen(CLIP), seen(OTHER)
    videos = {
        "frozen": [frozen(sights, k) for k in (100, 66, 33, 0)],
        "trembling": [trembling(sights, pixels) for pixels in (0, 4, 8, 16)],
        "other face": [sights[:k] + others[k:] for k in (100, 66, 33, 0)],
    }[spoil]
    fits = [measure(judge, video, sights, Heard(sound, sound))["sync_r"] for video in videos]
    assert np.all(np.diff(fits) < -0.02)
