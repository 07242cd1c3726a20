"""The watermark: what it says, what it survives, where it is not, what it does to a picture."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from skimage import data

from kptalk.errors import InputError
from kptalk.media.clip import read_frames
from kptalk.media.encoder import VideoWriter
from kptalk.media.sink import FileSink
from kptalk.media.watermark import Marker
from kptalk.media.watermark_code import CODED, Payload, decode, encode
from kptalk.media.watermark_reader import _means, find_watermark, read_watermark

PAYLOAD = Payload((0, 1, 2), 0xDEADBEEF)


def picture(width, height):
    """A photo, with a flat corner."""
    photo = cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)
    photo[: height // 4, : width // 4] = 90
    return photo


def film(width, height, count=40):
    """A still photo in which a square moves."""
    still = picture(width, height)
    moving = still[100:164, 100:164].copy()
    frames = np.repeat(still[None], count, 0)
    for k, frame in enumerate(frames):
        frame[60:124, 40 + k : 104 + k] = moving
    return frames


def save(path, frames, watermark):
    height, width = frames.shape[1:3]
    with VideoWriter(FileSink(path), Fraction(25), (width, height), watermark=watermark) as writer:
        writer.write(frames)
    return path


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    return save(tmp_path_factory.mktemp("marked") / "marked.mp4", film(512, 480), PAYLOAD)


def again(path, frames, crf=23, fps=25):
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for each in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(each[:height, :width]), "rgb24")))
        file.mux(stream.encode(None))
    return path


def scaled(frames, factor):
    size = round(frames[0].shape[1] * factor), round(frames[0].shape[0] * factor)
    return [cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in frames]


ATTACKS = {
    "crf 28": lambda frames, path: again(path, frames, 28),
    "half and back": lambda frames, path: again(path, scaled(scaled(frames, 0.5), 2)),
    "cropped": lambda frames, path: again(path, [each[23:-9, 11:-29] for each in frames]),
    "15 fps": lambda frames, path: again(path, frames[::2], fps=15),
    "brighter": lambda frames, path: again(path, [np.clip(each * 1.2, 0, 255).astype(np.uint8) for each in frames]),
    "darker": lambda frames, path: again(path, [(each * 0.8).astype(np.uint8) for each in frames]),
    "smaller, of unknown size": lambda frames, path: again(path, scaled(frames, 0.8)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_hidden_survives(marked, tmp_path, attack):
    path = ATTACKS[attack](list(read_frames(marked)), tmp_path / "attacked.mp4")
    found = read_watermark(path)
    assert found is not None
    assert found.payload == PAYLOAD


def test_a_scene_of_much_texture_does_not_drown_the_others():
    """The means of a few frames are evened out one by one, so that each counts as much."""
    rng, means = np.random.default_rng(0), []
    for texture in (16, 16, 300, 300):
        luma = rng.normal(128, texture, (256, 256)).clip(0, 255).astype(np.uint8)
        Marker(PAYLOAD, (256, 256))(luma)
        means.append(luma.astype(np.float32))
    found = find_watermark(np.stack(means))
    assert found is not None
    assert found.payload == PAYLOAD
    assert find_watermark(np.mean(means, 0, keepdims=True)) is None


def test_small_pictures_are_averaged_a_few_at_a_time(tmp_path):
    sizes = {(256, 256): [(2, 256, 256)], (640, 480): [(1, 480, 640)]}
    for size, shapes in sizes.items():
        path = save(tmp_path / f"{size[0]}.mp4", film(*size, 20), None)
        assert [means.shape for means in _means(path)] == shapes


def test_video_that_is_turned_on_a_phone_keeps_it(marked, tmp_path):
    frames = [np.rot90(each, 3) for each in read_frames(marked)]
    path = again(tmp_path / "turned.mp4", frames, 20)
    assert read_watermark(path) is None  # turned pixels are not looked for, only what a player turns


def test_nothing_is_found_where_nothing_is_hidden(tmp_path):
    assert read_watermark(save(tmp_path / "plain.mp4", film(512, 480), None)) is None
    assert read_watermark(save(tmp_path / "flat.mp4", np.full((30, 200, 200, 3), 128, np.uint8), None)) is None
    noise = np.random.default_rng(0).integers(0, 256, (10, 160, 160, 3), np.uint8)
    assert read_watermark(save(tmp_path / "noise.mp4", noise, None)) is None


@pytest.mark.parametrize("size", [(256, 256), (512, 512), (720, 1280), (66, 64)])
def test_mark_is_weak_and_the_same_in_every_frame(size):
    luma = np.ascontiguousarray(picture(*size)[..., 0])
    marked = luma.copy()
    Marker(PAYLOAD, size)(marked)
    difference = marked.astype(np.float64) - luma
    assert 10 * np.log10(219**2 / np.mean(difference**2)) > 42  # 219 levels of luma are the 255 of RGB
    assert np.abs(difference).max() <= 12
    second = luma.copy()
    Marker(PAYLOAD, size)(second)
    assert (marked == second).all()


def test_flat_area_is_changed_by_hardly_a_level():
    luma = np.ascontiguousarray(picture(512, 512)[..., 0])
    marked = luma.copy()
    Marker(PAYLOAD, (512, 512))(marked)
    difference = np.abs(marked.astype(int) - luma)
    assert difference[:96, :96].max() <= 3
    assert difference[:96, :96].mean() < 0.6 * difference[200:, 200:].mean()


def test_same_watermark_gives_the_same_bytes(tmp_path):
    one, two = (save(tmp_path / name, film(180, 170, 5), PAYLOAD) for name in ("a.mp4", "b.mp4"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("payload", [PAYLOAD, Payload((15, 63, 63), 0xFFFFFFFF), Payload((0, 0, 0), 0)])
def test_payload_comes_back_from_its_number_and_its_code(payload):
    assert Payload.from_int(payload.to_int()) == payload
    assert decode(encode(payload.to_int()).astype(np.float32)) == payload.to_int()
    assert Payload.from_int(payload.to_int() ^ 1 << 20) is None


def test_code_corrects_what_one_bit_in_eight_gets_wrong():
    rng, value = np.random.default_rng(3), PAYLOAD.to_int()
    sent = encode(value).astype(np.float32)
    sent[rng.permutation(CODED)[: CODED // 8]] *= -1
    assert decode(sent) == value


def test_id_follows_from_what_the_video_is_made_from():
    photo = np.zeros((4, 4, 3), np.uint8)
    assert Payload.of("seed 1", photo, b"sound") == Payload.of("seed 1", photo, b"sound")
    others = {Payload.of("seed 1", photo, b"sound"), Payload.of("seed 2", photo, b"sound"), Payload.of("seed 1", photo)}
    assert len(others) == 3


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match="not a recording"):
        read_watermark(tmp_path / "a.mp4")
