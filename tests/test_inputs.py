"""What animate and reenact take as portrait, speech, driver and options, and what they say to the rest."""

import io
from pathlib import Path

import numpy as np
import pytest
from fakes import plain_portrait, random_motion
from PIL import Image
from recordings import write_sound
from speaking import hum, speech

from kptalk import Motion, Options, ReenactOptions, Speech
from kptalk.errors import AudioError, ImageError, InputError, KptalkError, OptionError

RATE = 16_000


@pytest.fixture
def found(monkeypatch, space):
    """The pictures that were searched for a face, each of which gets one."""
    pictures = []

    def find(image, *_):
        pictures.append(image)
        return plain_portrait(space)

    monkeypatch.setattr("kptalk.pipeline.find_portrait", find)
    return pictures


@pytest.fixture
def photo(portrait):
    return portrait.image


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def with_alpha(photo):
    return np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])


PORTRAITS = {
    "path": lambda photo, folder: folder / "face.png",
    "text": lambda photo, folder: str(folder / "face.png"),
    "bytes": lambda photo, folder: png(photo),
    "BytesIO": lambda photo, folder: io.BytesIO(png(photo)),
    "file": lambda photo, folder: (folder / "face.png").open("rb"),
    "Pillow": lambda photo, folder: Image.fromarray(photo),
    "array": lambda photo, folder: photo,
    "RGBA": lambda photo, folder: with_alpha(photo),
    "float": lambda photo, folder: photo / np.float32(255),
}


@pytest.mark.parametrize("kind", PORTRAITS)
def test_portraits(pipeline, photo, found, tmp_path, kind):
    (tmp_path / "face.png").write_bytes(png(photo))
    source = PORTRAITS[kind](photo, tmp_path)
    assert sum(1 for _ in pipeline.animate(source, speech(8000))) == 13
    assert np.array_equal(found[0], photo)
    if kind == "file":
        source.close()


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_grey_portrait(pipeline, photo, found, shape):
    grey = photo[..., 0].reshape(*photo.shape[:2], *shape)
    pipeline.animate(grey, speech(8000))
    assert np.array_equal(found[0], np.repeat(photo[..., :1], 3, 2))


def test_a_portrait_that_was_found_before(pipeline, portrait, found):
    pipeline.animate(portrait, speech(8000))
    pipeline.reenact(portrait, random_motion(3))
    assert not found


SPEECHES = {
    "path": lambda folder: folder / "speech.wav",
    "text": lambda folder: str(folder / "speech.wav"),
    "bytes": lambda folder: (folder / "speech.wav").read_bytes(),
    "BytesIO": lambda folder: io.BytesIO((folder / "speech.wav").read_bytes()),
    "file": lambda folder: (folder / "speech.wav").open("rb"),
    "samples": lambda folder: (hum(8000), RATE),
    "Speech": lambda folder: Speech.open(folder / "speech.wav"),
}


@pytest.mark.parametrize("kind", SPEECHES)
def test_speeches(pipeline, portrait, tmp_path, kind):
    """Read as often as one likes, also where they come from an open file."""
    write_sound(tmp_path / "speech.wav", hum(8000)[None], RATE)
    source = SPEECHES[kind](tmp_path)
    animation = pipeline.animate(portrait, source)
    first, again = (Motion.concatenate(list(animation.motion())) for _ in range(2))
    assert first == again
    expected = Motion.concatenate(list(pipeline.animate(portrait, (hum(8000), RATE)).motion()))
    assert np.allclose(first.rotation, expected.rotation, atol=1e-2)
    if kind == "file":
        source.close()
    else:
        driven = pipeline.reenact(portrait, random_motion(5), SPEECHES[kind](tmp_path))
        assert driven.sound.duration_hint == 0.5


BAD_PORTRAITS = [
    *("https://example.org/face.jpg", Path("https://example.org/face.jpg"), b"", b"no image", None, 3, [1, 2]),
    *(np.zeros((64, 64, 5), np.uint8), np.zeros((64, 64, 3), np.complex64), np.zeros((0, 64, 3), np.uint8)),
    *(np.full((64, 64, 3), 200.0, np.float32), np.full((64, 64, 3), np.nan), io.StringIO("text")),
]


@pytest.mark.parametrize("bad", BAD_PORTRAITS, ids=lambda bad: repr(bad)[:20])
def test_what_is_no_portrait(pipeline, bad):
    for make in (lambda: pipeline.animate(bad, speech(8000)), lambda: pipeline.reenact(bad, random_motion(3))):
        with pytest.raises(ImageError) as caught:
            make()
        assert "\n" not in str(caught.value)


BAD_SPEECHES = [
    *(
        "https://example.org/a.wav",
        Path("http://example.org/a.wav"),
        b"",
        b"no sound",
        None,
        3,
        [1, 2],
        io.StringIO(""),
    ),
    *(
        hum(8000),
        (hum(8000),),
        (RATE, hum(8000)),
        io.StringIO(""),
        (hum(8000), "fast"),
        (hum(8000), 0),
        (np.zeros(0), RATE),
    ),
    *((hum(8000), None), ("speech.wav", RATE), (hum(8000), RATE, 2)),
]


@pytest.mark.parametrize("bad", BAD_SPEECHES, ids=lambda bad: repr(bad)[:20])
def test_what_is_no_speech(pipeline, portrait, bad):
    with pytest.raises(AudioError) as caught:
        pipeline.animate(portrait, bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "bad", ["https://example.org/a.mp4", b"video", None, 3, speech(8000)], ids=lambda bad: repr(bad)[:20]
)
def test_what_is_no_driver(pipeline, portrait, bad):
    with pytest.raises(InputError) as caught:
        pipeline.reenact(portrait, bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["https://example.org/face.jpg", "http://a.b/c.wav"])
def test_addresses_are_refused_by_name(pipeline, portrait, source):
    for make in (lambda: pipeline.animate(source, speech(8000)), lambda: pipeline.animate(portrait, source)):
        with pytest.raises(KptalkError, match=f"{source}.*download"):
            make()


@pytest.mark.parametrize("face", ["2", 1.5, True, [1]])
def test_what_is_no_number_of_a_face(pipeline, photo, found, face):
    with pytest.raises(OptionError, match="face is "):
        pipeline.animate(photo, speech(8000), face=face)


def test_options_of_another_kind(pipeline, portrait):
    with pytest.raises(OptionError, match=r"options is {'seed': 3}: give Options"):
        pipeline.animate(portrait, speech(8000), options={"seed": 3})
    with pytest.raises(OptionError, match="give ReenactOptions"):
        pipeline.reenact(portrait, random_motion(3), options=Options())
    with pytest.raises(OptionError, match="unknown options: colour"):
        pipeline.animate(portrait, speech(8000), colour="red")


def test_reenact_takes_single_options_too(pipeline, portrait):
    motion, options = random_motion(6), ReenactOptions(size=64, fps=50)
    animation = pipeline.reenact(portrait, motion, options=options, mode="absolute", region="pose", size="96")
    assert (animation.size, animation.fps, animation.expected) == ((96, 96), 50, 11)
    again = pipeline.reenact(
        portrait, motion, options=ReenactOptions.from_dict({"fps": 50, "mode": "absolute", "region": "pose"})
    )
    assert np.allclose(*(Motion.concatenate(list(a.motion())).rotation for a in (animation, again)))


def test_what_things_are_is_seen(pipeline, portrait, tmp_path):
    assert repr(pipeline) == "<Pipeline of model 'fake': method facemesh, renderer fake>"
    assert repr(random_motion(75)) == "<Motion of space 'facemesh': 75 frames, 25 fps, 3.00 s>"
    assert repr(portrait).startswith("<Portrait 128x128, face ")
    assert repr(portrait.face).startswith("<Face ")
    assert repr(speech(8000)) == "<Speech 'samples', 0.50 s, 16000 Hz, mono>"
