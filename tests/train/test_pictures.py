"""Pictures to train on: made from videos, kept, read back, drawn in batches."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets_made import written
from media_shared import CLIPS, clip_landmarks
from mutations import mutated

from kptalk.errors import DatasetError
from kptalk.face.measures import lip_gap
from kptalk.train import picture_data
from kptalk.train.data import Inputs
from kptalk.train.picture_data import PictureData, augment, batch, open_pictures
from kptalk.train.pictures import FRAMES, PictureSet, make_pictures

SIZE = 32


@pytest.fixture
def data(pictures):
    return PictureData(pictures[:1], pictures[1:])


def test_sequences_are_neighbouring_frames_of_the_video(pictures, picture_clips):
    for found, source in zip(pictures, picture_clips, strict=True):
        assert found.real.shape == found.warped.shape == (4, FRAMES, SIZE, SIZE, 3)
        assert found.points.shape == (4, FRAMES, 478, 2)
        assert found.mels.shape == (4, FRAMES, 80, 16)
        assert found.identity == source.identity
        assert (np.abs(found.points.astype(float) - SIZE / 2) < SIZE).all()


def test_what_the_mesh_renderer_draws_resembles_the_video(pictures):
    for found in pictures:
        error = np.abs(found.real.astype(float) - found.warped).mean()
        other = np.abs(found.real.astype(float) - found.real[:, :, ::-1]).mean()
        assert error < 0.3 * other


def test_a_set_comes_back_from_the_disk(pictures, tmp_path):
    pictures[0].save(tmp_path / "a.safetensors")
    found = PictureSet.load(tmp_path / "a.safetensors")
    assert found.identity == pictures[0].identity
    for name in ("real", "warped", "points", "mels", "reference", "references", "reference_points"):
        assert np.array_equal(getattr(found, name), getattr(pictures[0], name)), name


def test_damaged_sets_are_named(pictures, tmp_path):
    path, rng = tmp_path / "a.safetensors", np.random.default_rng(0)
    pictures[0].save(path)
    whole = path.read_bytes()
    refused = []
    for _ in range(40):
        path.write_bytes(mutated(whole, rng))
        try:
            PictureSet.load(path)
        except DatasetError as error:
            refused.append(str(error))
    assert len(refused) > 3
    assert all("a.safetensors" in reason for reason in refused)
    for content in (b"", b"x" * 8, whole[:500]):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"a\.safetensors"):
            PictureSet.load(path)


@pytest.mark.parametrize("video", [Path(), Path("/gone.mp4"), CLIPS / "grid_s4_1.mp4"], ids=str)
def test_a_video_that_is_gone_or_shorter_is_named(picture_clips, space, video):
    long = np.resize(picture_clips[0].landmarks, (200, 478, 3))
    with pytest.raises(DatasetError, match="no pictures of"):
        make_pictures(replace(picture_clips[0], video=video, landmarks=long), space, SIZE, np.random.default_rng(0))


def test_pictures_are_made_once_and_what_is_gone_is_warned_of(picture_clips, space_folder, tmp_path, monkeypatch):
    lost = replace(picture_clips[0], video=Path("/gone.mp4"))
    picture_folder = written([*picture_clips, lost], tmp_path / "clips")
    inputs = Inputs(picture_folder, space_folder, 0, "cpu")
    with pytest.warns(UserWarning, match=r"no pictures of gone\.mp4"):
        sets, held_out = open_pictures(inputs, SIZE)
    assert (len(sets), len(held_out)) == (1, 1)
    made = {path.name: path.stat().st_mtime_ns for path in (space_folder / f"pictures-{SIZE}").iterdir()}
    assert len(made) == 2
    written(picture_clips, picture_folder)
    monkeypatch.setattr(picture_data, "make_pictures", lambda *_: pytest.fail("made again"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_pictures(inputs, SIZE)
    assert made == {path.name: path.stat().st_mtime_ns for path in (space_folder / f"pictures-{SIZE}").iterdir()}


@pytest.mark.slow
def test_many_are_made_in_processes(picture_folder, model_folder, monkeypatch):
    lost = model_folder / "pictures-32" / "1.safetensors"
    content = lost.read_bytes()
    lost.unlink()
    monkeypatch.setattr(picture_data, "CLIPS_PER_PROCESS", 0.5)
    monkeypatch.setattr(picture_data, "side_by_side", lambda: 2)
    open_pictures(Inputs(picture_folder, model_folder, 0, "cpu"), SIZE)
    assert len(lost.read_bytes()) == len(content)


def test_squares_of_another_size_are_refused(picture_folder, space_folder, pictures):
    folder = space_folder / "pictures-64"
    folder.mkdir()
    for number, found in enumerate(pictures):
        found.save(folder / f"{number}.safetensors")
    with pytest.raises(DatasetError, match=r"pictures-64 holds squares of 32 pixels"):
        open_pictures(Inputs(picture_folder, space_folder, 0, "cpu"), 64)


def test_packed_clips_have_no_pictures(picture_folder, space_folder):
    with pytest.raises(DatasetError, match="give the dataset"):
        open_pictures(Inputs(picture_folder / "index.safetensors", space_folder, 0, "cpu"), SIZE)


def test_without_any_video_there_is_nothing_to_train_on(picture_clips, space_folder, tmp_path):
    picture_folder = written([replace(clip, video=Path("/gone.mp4")) for clip in picture_clips], tmp_path / "clips")
    with (
        pytest.warns(UserWarning, match=r"gone\.mp4"),
        pytest.raises(DatasetError, match="no video of "),
    ):
        open_pictures(Inputs(picture_folder, space_folder, 0, "cpu"), SIZE)


def test_batches_are_drawn_by_seed(data):
    def drawn(seed):
        return data.draw(np.random.default_rng(seed), 2)

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert first.real.shape == (2, FRAMES, 3, SIZE, SIZE)
    assert first.maps.shape == (2, FRAMES, 5, SIZE, SIZE)
    assert first.mels.shape == (2, FRAMES, 1280)
    assert (first.real == again.real).all()
    assert not (first.real == other.real).all()
    for pictures in (first.real, first.warped, first.reference):
        assert -1.0001 < pictures.min() < pictures.max() < 1.0001


def test_augmenting_treats_all_pictures_of_a_sequence_alike(data):
    b = batch([(data.sets[0], 0)])
    same = replace(b, warped=b.real, reference=b.real[:, 0], reference_maps=b.maps[:, 0])
    for seed in range(6):
        changed = augment(same, np.random.default_rng(seed))
        assert (changed.real == changed.warped).all()
        assert (changed.reference == changed.real[:, 0]).all()
        assert (changed.reference_maps == changed.maps[:, 0]).all()


def test_open_mouths_are_drawn_more_often(pictures):
    shut = pictures[0]
    points = shut.points.copy()
    points[0, :, 14, 1] += 8
    data = PictureData([replace(shut, points=points)], pictures[1:])
    assert lip_gap(points[0]).max() > 0.2
    assert data.weights[0] >= data.weights[1:].max()
    assert data.weights.sum() == pytest.approx(1)


def test_gaps_are_shares_of_the_mouths_width():
    landmarks = clip_landmarks(CLIPS / "grid_flbbc_1.mp4", 1.6)
    found = lip_gap(landmarks[..., :2])
    assert found.shape == (len(landmarks),)
    assert (found >= 0).all()
    assert found.max() < 1.5
