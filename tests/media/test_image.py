"""Every photo that Pillow reads becomes RGB; every other file a one-line ImageError."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from kptalk.errors import ImageError
from kptalk.media.image import read_image

GRADIENT = np.stack(np.broadcast_arrays(np.arange(40)[:, None] * 4, np.arange(32) * 5, 90), -1).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "ppm", "tga"])
def test_lossless_formats_keep_every_pixel(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    image = read_image(save(tmp_path / f"a.{suffix}", GRADIENT, **options))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, GRADIENT)


def test_path_with_spaces_accents_and_emoji(tmp_path):
    path = save(tmp_path / "My Face é 🙂.png", GRADIENT)
    np.testing.assert_array_equal(read_image(str(path)), GRADIENT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", np.ascontiguousarray(undo(GRADIENT)), exif=exif)
    np.testing.assert_array_equal(read_image(path), GRADIENT)


def test_broken_exif_does_not_matter(tmp_path):
    path = save(tmp_path / "a.jpg", GRADIENT, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f garbage")
    assert read_image(path).shape == GRADIENT.shape


def swapped_profile(description: str) -> bytes:
    """An sRGB profile whose red and blue primaries have changed places."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = data.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")
    return data.replace("sRGB".encode("utf-16-be"), description.encode("utf-16-be"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour_profile_is_applied(tmp_path, mode):
    path = tmp_path / "wide.png"
    Image.new(mode, (32, 32), (250, 20, 20, 255)[: len(mode)]).save(path, icc_profile=swapped_profile("test"))
    assert np.abs(read_image(path).astype(int) - (20, 20, 250)).max() <= 3


def test_pixels_with_an_srgb_profile_are_kept(tmp_path):
    path = save(tmp_path / "a.png", GRADIENT, icc_profile=swapped_profile("sRGB"))
    np.testing.assert_array_equal(read_image(path), GRADIENT)


def test_broken_colour_profile_does_not_matter(tmp_path):
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", GRADIENT, icc_profile=b"nonsense")), GRADIENT)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparency_is_laid_on_white(tmp_path, mode):
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 255))
    image.paste((10, 20, 30, 0), (0, 0, 10, 20))
    if mode == "P":
        palette = Image.new("P", (20, 20), 1)
        palette.putpalette([10, 20, 30, 0, 0, 0])
        palette.paste(0, (0, 0, 10, 20))
        palette.save(tmp_path / "a.png", transparency=0)
    elif mode == "PA":
        image.quantize(4).save(tmp_path / "a.gif", transparency=image.quantize(4).getpixel((0, 0)))
    else:
        image.convert(mode).save(tmp_path / "a.png")
    result = read_image(next(tmp_path.iterdir()))
    assert (result[:, :10] == 255).all()
    assert (result[:, 10:] == 0).all()


def test_half_transparent_black_is_grey(tmp_path):
    Image.new("RGBA", (20, 20), (0, 0, 0, 128)).save(tmp_path / "a.png")
    assert abs(int(read_image(tmp_path / "a.png")[0, 0, 0]) - 127) <= 1


def test_cmyk_is_converted(tmp_path):
    Image.fromarray(GRADIENT).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - GRADIENT).mean() < 8


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr"])
def test_other_modes_are_converted(tmp_path, mode):
    suffix = "jpg" if mode == "YCbCr" else "png"
    Image.fromarray(GRADIENT).convert(mode).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}").shape == GRADIENT.shape


@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        (np.arange(20, dtype=np.uint16) * 257, "png"),
        (np.arange(20, dtype=np.uint16) * 257, "tiff"),
        (np.arange(20, dtype=np.int32), "tiff"),
        (np.arange(20, dtype=np.int32) + 236, "tiff"),
        (np.arange(20, dtype=np.float32) / 255, "tiff"),
        (np.arange(20, dtype=np.float32), "tiff"),
    ],
)
def test_deep_grey_is_scaled_to_eight_bits(tmp_path, values, suffix):
    path = save(tmp_path / f"a.{suffix}", np.tile(values, (20, 1)))
    expected = np.arange(20)
    if values.max() == 255:
        expected = values
    np.testing.assert_array_equal(read_image(path)[0, :, 0], expected)


def test_float_image_with_nan(tmp_path):
    values = np.full((20, 20), 0.5, np.float32)
    values[0, 0] = np.nan
    image = read_image(save(tmp_path / "a.tiff", values))
    assert image[0, 0, 0] == 0
    assert image[1, 1, 0] == 128


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_an_animation(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 20), (level, level, level)) for level in (40, 200)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert abs(int(read_image(tmp_path / f"a.{suffix}").mean()) - 40) <= 2


def refused(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_files_that_are_no_images(tmp_path):
    assert "No such file" in refused(tmp_path / "absent.jpg")
    assert "folder" in refused(tmp_path)
    (tmp_path / "empty.jpg").touch()
    assert "empty" in refused(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("this is not an image\n" * 50)
    assert "not an image" in refused(tmp_path / "text.jpg")
    (tmp_path / "noise.png").write_bytes(np.random.default_rng(0).bytes(5000))
    assert "not an image" in refused(tmp_path / "noise.png")
    (tmp_path / "drawing.eps").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n"
    )
    assert "JPEG or PNG" in refused(tmp_path / "drawing.eps")
    assert "1x1 pixels" in refused(save(tmp_path / "tiny.png", GRADIENT[:1, :1]))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_truncated_image(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    path = save(tmp_path / f"a.{suffix}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path)


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (60_000, 60_000)])
def test_decompression_bomb(tmp_path, width, height):
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    assert "million pixels" in refused(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_bytes_give_an_image_or_an_image_error(tmp_path, form, changes):
    buffer = io.BytesIO()
    Image.fromarray(GRADIENT).save(buffer, form)
    data = bytearray(buffer.getvalue())
    for place, value in changes:
        data[int(place * len(data))] = value
    path = tmp_path / "damaged"
    path.write_bytes(data)
    with contextlib.suppress(ImageError):
        image = read_image(path)
        assert image.dtype == np.uint8
        assert image.shape[2] == 3


@pytest.mark.parametrize("form", ["PCX", "SGI", "IM", "PDF"])
def test_only_formats_of_photos_are_opened(tmp_path, form):
    """Drawings, documents and scientific data have readers in Pillow that nobody looks at."""
    Image.fromarray(GRADIENT).save(tmp_path / "a.png", form)
    assert "is not an image that can be read" in refused(tmp_path / "a.png")
