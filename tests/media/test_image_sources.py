"""A photo is a path, bytes, an open file, a Pillow image or an array; HEIC is read where pillow-heif is installed."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kptalk.errors import ImageError
from kptalk.media.image import read_image

GRADIENT = np.stack(np.broadcast_arrays(np.arange(40)[:, None] * 4, np.arange(32) * 5, 90), -1).astype(np.uint8)
GREY = GRADIENT[..., 0]


def encoded(form: str = "PNG", array: np.ndarray = GRADIENT, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


def turned_exif() -> Image.Exif:
    """Says that a picture must be turned clockwise by 90 degrees to be upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO])
def test_content_in_memory(kind):
    np.testing.assert_array_equal(read_image(kind(encoded())), GRADIENT)


def test_open_files_are_read_from_where_they_stand(tmp_path):
    path = tmp_path / "two.bin"
    path.write_bytes(b"header" + encoded())
    with path.open("rb") as file:
        file.seek(6)
        np.testing.assert_array_equal(read_image(file), GRADIENT)
        assert not file.closed
    with path.open("rb", buffering=0) as file, pytest.raises(ImageError, match=r"two\.bin is not an image"):
        read_image(file)


def test_exif_counts_in_memory_too():
    turned = np.ascontiguousarray(np.rot90(GRADIENT))
    np.testing.assert_array_equal(read_image(encoded(array=turned, exif=turned_exif())), GRADIENT)
    np.testing.assert_array_equal(
        read_image(Image.open(io.BytesIO(encoded(array=turned, exif=turned_exif())))), GRADIENT
    )


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA", "1", "I;16", "F"])
def test_pillow_images_of_any_mode(mode):
    if mode == "I;16":
        image = Image.fromarray(GREY.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(GREY).convert("F") if mode == "F" else Image.fromarray(GRADIENT).convert(mode)
    read = read_image(image)
    assert read.dtype == np.uint8
    assert read.shape == GRADIENT.shape
    image.load()  # is not closed


def test_an_image_that_is_closed():
    image = Image.open(io.BytesIO(encoded()))
    image.close()
    with pytest.raises(ImageError, match="the image is damaged"):
        read_image(image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64, ">u2", ">f4"])
@pytest.mark.parametrize("channels", [0, 1, 3, 4])
def test_arrays(dtype, channels):
    expected = GRADIENT if channels > 1 else np.repeat(GREY[..., None], 3, -1)
    array = {0: GREY, 1: GREY[..., None], 3: GRADIENT, 4: np.dstack([GRADIENT, np.full_like(GREY, 255)])}[channels]
    kind = np.dtype(dtype).kind
    scaled = array / 255 if kind == "f" else array.astype(np.uint16) * 257 if np.dtype(dtype).itemsize == 2 else array
    read = read_image(scaled.astype(dtype))
    assert read.dtype == np.uint8
    assert read.flags.c_contiguous
    np.testing.assert_array_equal(read, expected)


def test_the_array_is_copied():
    own = GRADIENT.copy()
    assert not np.shares_memory(read_image(own), own)


def test_transparent_arrays_are_laid_on_white():
    clear = np.dstack([GRADIENT, np.zeros_like(GREY)])
    assert (read_image(clear) == 255).all()
    assert (read_image(clear / 255) == 255).all()


def test_floats_may_leave_their_range_by_rounding_only():
    assert read_image(np.full((20, 20), 1.0005))[0, 0, 0] == 255
    for value in (1.1, -0.1, 255.0, np.nan, np.inf):
        with pytest.raises(ImageError, match="not from 0 to 1"):
            read_image(np.full((20, 20, 3), value))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 40, 40), np.uint8), r"\(3, 40, 40\): give \(H, W\)"),
        (np.zeros((40, 40, 2), np.uint8), "RGBA"),
        (np.zeros(40, np.uint8), r"\(40,\)"),
        (np.zeros((1, 40, 40, 3), np.uint8), "give"),
        (np.zeros((40, 40, 3), np.int64), "int64 .* give uint8, uint16, or floats"),
        (np.zeros((40, 40), bool), "bool"),
        (np.full((40, 40), None), "object"),
        (np.zeros((40, 40), complex), "complex"),
        (np.zeros((2, 40, 3), np.uint8), "40x2 pixels"),
        (np.zeros((0, 0, 3), np.uint8), "0x0 pixels"),
    ],
)
def test_arrays_that_are_no_pictures(array, message):
    with pytest.raises(ImageError, match=message):
        read_image(array)


@pytest.mark.parametrize("source", [None, 7, [[1, 2], [3, 4]], {"a": 1}, object()])
def test_anything_else(source):
    with pytest.raises(ImageError, match=f"of type {type(source).__name__}: give a path, bytes"):
        read_image(source)


def test_text_emptiness_and_damage_in_memory():
    with pytest.raises(ImageError, match="open as text"):
        read_image(io.StringIO("text"))
    with pytest.raises(ImageError, match="the image is empty"):
        read_image(b"")
    with pytest.raises(ImageError, match="the image is not an image that can be read"):
        read_image(b"text" * 100)
    with pytest.raises(ImageError, match="the image is damaged"):
        read_image(encoded()[:-40])
    with pytest.raises(ImageError, match="PostScript"):
        read_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n")


@pytest.mark.parametrize("address", ["https://example.org/a.jpg", "HTTP://example.org/a.jpg", "s3://bucket/a"])
def test_addresses_are_refused_by_name(address):
    for source in (address, Path(address)):
        with pytest.raises(ImageError, match=f"{address} is a URL: download it first"):
            read_image(source)


# The first bytes of files that differ in their brands alone: size and name of the box, main brand, version, others.
def box(main: bytes, *others: bytes) -> bytes:
    return (16 + 4 * len(others)).to_bytes(4, "big") + b"ftyp" + main + bytes(4) + b"".join(others) + bytes(400)


@pytest.mark.parametrize(
    "start", [box(b"heic", b"mif1"), box(b"mif1", b"heic"), box(b"hevc"), box(b"mif1"), box(b"msf1")]
)
def test_heic_without_its_reader(start, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    path = tmp_path / "IMG_1.jpg"  # phones' files are renamed: the content decides
    path.write_bytes(start)
    with pytest.raises(
        ImageError, match=r"IMG_1.jpg is a HEIC photo: pip install 'kptalk\[heic\]', or save it as JPEG"
    ):
        read_image(path)
    with pytest.raises(ImageError, match="the image is a HEIC photo"):
        read_image(start)


@pytest.mark.parametrize(
    "start", [box(b"avif", b"mif1"), box(b"mif1", b"avif"), box(b"isom", b"mp41"), b"ftypheic" * 9]
)
def test_other_files_with_brands_are_no_heic(start):
    with pytest.raises(ImageError, match=r"not an image|damaged"):
        read_image(start)


@pytest.fixture
def heif():
    return pytest.importorskip("pillow_heif", reason="HEIC needs pillow-heif")


def heic(heif, image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    heif.from_pillow(image).save(buffer, quality=95, **options)
    return buffer.getvalue()


def test_heic_is_read(heif, tmp_path):
    smooth = Image.fromarray(GRADIENT).resize((128, 160), Image.Resampling.BICUBIC)
    for mode in ("RGB", "RGBA", "L"):
        path = tmp_path / f"{mode}.png"
        path.write_bytes(heic(heif, smooth.convert(mode)))
        expected = np.asarray(smooth.convert(mode).convert("RGB"), int)
        for source in (path, path.read_bytes()):
            assert np.abs(read_image(source) - expected).mean() < 3
    for damaged in (path.read_bytes()[:200], path.read_bytes()[:-400]):
        with pytest.raises(ImageError, match="damaged"):
            read_image(damaged)


def test_heic_is_turned_once(heif):
    upright = Image.fromarray(GRADIENT).resize((128, 160), Image.Resampling.BICUBIC)
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    read = read_image(heic(heif, stored, exif=turned_exif().tobytes()))
    assert read.shape == (160, 128, 3)
    assert np.abs(read - np.asarray(upright, int)).mean() < 3


def test_heic_of_too_many_pixels(heif, monkeypatch):
    content = heic(heif, Image.new("RGB", (128, 160)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(ImageError, match="million pixels"):
        read_image(content)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["pillow_heif, av, cv2", "cv2, av, pillow_heif"])
def test_heic_beside_opencv_and_ffmpeg(heif, order):
    """Each brings video codecs of its own into the process."""
    script = f"""
import {order}
import io, numpy as np, cv2, av, pillow_heif
from PIL import Image
from kptalk.media.image import read_image

def video():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        file.mux(stream.encode(None))
    with av.open(io.BytesIO(buffer.getvalue())) as file:
        assert len(list(file.decode(video=0))) == 3

def photo():
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 64), "red")).save(buffer)
    assert read_image(buffer.getvalue())[5, 5, 0] > 200
    cv2.resize(np.zeros((9, 9), np.uint8), (3, 3))

video(), photo(), video(), photo()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
