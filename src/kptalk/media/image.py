"""Any photo as an RGB array: a file, its bytes, an open file, Pillow's image, or an array."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from kptalk.errors import ImageError
from kptalk.files import check_readable

ImageLike = str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[Any]
MIN_SIDE = 16
# Pillow's formats that photos and pictures come in. Its other readers, of drawings, documents and scientific data, are
# rarely used and looked at, and PostScript would be handed to Ghostscript, which executes it.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "AVIF", "JPEG2000", "PPM", "ICO", "TGA")
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}  # HEVC inside
HEIF_BRANDS = {b"mif1", b"msf1"}  # any codec inside: HEVC, unless AVIF's brands are there too
AVIF_BRANDS = {b"avif", b"avis"}
TOLERANCE = 1e-3  # by which floats may leave 0 to 1, as they do after interpolation
_filters = Lock()  # the filters of warnings are the process's: of two threads that change them one waits


def read_image(source: ImageLike) -> NDArray[np.uint8]:
    """A photo as it is meant to be seen.

    EXIF rotation and an embedded colour profile are applied, transparency is laid on white, CMYK, grey, palette and
    16-bit pictures become RGB, and of an animation the first frame is taken. HEIC needs pillow-heif.

    Args:
        source: the path of a file; its bytes; a file that is open for reading bytes, read from where it stands; a
            Pillow image, whose current frame is taken; or an array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA
            of uint8, of uint16 from 0 to 65535, or of floats from 0 to 1.

    Returns:
        (H, W, 3) uint8 sRGB.

    Raises:
        ImageError: the file is absent, not an image, damaged, or far too small or too large; a HEIC photo without
            pillow-heif; an array of another shape, type or range; or something else than all of these.
    """
    name = "the image"
    try:
        if not isinstance(source, np.ndarray | Image.Image):
            name, file = _named_file(source)
        with _filters, warnings.catch_warnings():
            # Pillow only warns between its limit and twice its limit, and warns of oddities in metadata as well.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if isinstance(source, np.ndarray):
                image = _image_of_array(source)
                _check_size(name, image)
                return np.array(_as_rgb(image))
            if isinstance(source, Image.Image):
                return _pixels(name, source)
            with _opened(name, file) as image:
                return _pixels(name, image)
    except ImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise ImageError(f"{name} has more than {limit} million pixels: scale it down first") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image that can be read: save it as JPEG or PNG") from error
    except MemoryError as error:
        raise ImageError(f"{name} does not fit into memory: scale it down first") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, zlib.error and more
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name} is damaged ({reason}): save it again as JPEG or PNG") from error


def _named_file(source: object) -> tuple[str, Path | io.BytesIO]:
    """What messages call it, and what can be opened."""
    if isinstance(source, str | PathLike):
        path = Path(source)
        check_readable(path, "an image", ImageError)
        return str(path), path
    name = "the image"
    content = source
    if callable(read := getattr(source, "read", None)):
        given = getattr(source, "name", None)
        name = given if isinstance(given, str) else name
        content = read()
        if isinstance(content, str):
            raise ImageError(f"{name} is open as text: open it for reading bytes")
    if not isinstance(content, bytes | bytearray | memoryview):
        expected = "a path, bytes, an open file, a Pillow image or an array"
        raise ImageError(f"the image is of type {type(source).__name__}: give {expected}")
    if not len(content):
        raise ImageError(f"{name} is empty (0 bytes)")
    return name, io.BytesIO(content)


@contextlib.contextmanager
def _opened(name: str, file: Path | io.BytesIO) -> Iterator[Image.Image]:
    """The image in a file, whose pixels need not be decoded yet."""
    with file.open("rb") if isinstance(file, Path) else file as stream:
        start = stream.read(256)
        stream.seek(0)
        if not _is_heic(start):
            if start.startswith(b"%!PS"):
                raise ImageError(f"{name} is PostScript: save it as JPEG or PNG")
            with Image.open(stream, formats=_formats()) as image:
                yield image
            return
        try:
            heif = import_module("pillow_heif")
        except ImportError:
            raise ImageError(f"{name} is a HEIC photo: pip install 'kptalk[heic]', or save it as JPEG") from None
        photo = heif.open_heif(stream)
        width, height = photo.size
        if width * height > (Image.MAX_IMAGE_PIXELS or width * height):
            raise Image.DecompressionBombError
        yield photo.to_pillow()  # upright, and its EXIF says so


@cache
def _formats() -> tuple[str, ...]:
    """Those of ``FORMATS`` that this Pillow knows."""
    Image.init()
    return tuple(each for each in FORMATS if each in Image.OPEN)


def _is_heic(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a HEIC photo, by the brands of its ``ftyp`` box."""
    if start[4:8] != b"ftyp":
        return False
    box = start[8 : max(16, int.from_bytes(start[:4], "big"))]
    main, brands = box[:4], {box[k : k + 4] for k in range(8, len(box), 4)}
    return main in HEIC_BRANDS or (main in HEIF_BRANDS and not brands & AVIF_BRANDS)


def _pixels(name: str, image: Image.Image) -> NDArray[np.uint8]:
    if image.format == "EPS":  # an image that somebody else opened
        raise ImageError(f"{name} is PostScript: save it as JPEG or PNG")
    _check_size(name, image)
    image.load()
    return np.array(_as_rgb(_in_srgb(_upright(image))))


def _check_size(name: str, image: Image.Image) -> None:
    if min(image.size) < MIN_SIDE:
        width, height = image.size
        raise ImageError(f"{name} has {width}x{height} pixels: a portrait needs at least {MIN_SIDE} on each side")


def _image_of_array(array: NDArray[Any]) -> Image.Image:
    """An array as an image of 8 bits, L, RGB or RGBA."""
    seen = f"the image is an array {array.dtype} {array.shape}"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
        raise ImageError(f"{seen}: give (H, W), (H, W, 3) RGB or (H, W, 4) RGBA")
    if array.dtype.kind == "f":
        if array.size and not (array.min() >= -TOLERANCE and array.max() <= 1 + TOLERANCE):  # nor NaN
            raise ImageError(f"{seen} with values that are not from 0 to 1: scale it, or give uint8")
        array = np.rint(np.clip(array, 0, 1).astype(np.float32) * 255)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:
        array = np.rint(array / np.float32(257))
    elif array.dtype != np.uint8:
        raise ImageError(f"{seen}: give uint8, uint16, or floats from 0 to 1")
    return Image.fromarray(np.ascontiguousarray(array, np.uint8))


def _upright(image: Image.Image) -> Image.Image:
    with contextlib.suppress(Exception):  # unreadable EXIF is no reason to refuse readable pixels
        return ImageOps.exif_transpose(image) or image
    return image


def _in_srgb(image: Image.Image) -> Image.Image:
    """Colours of wide-gamut phone photos and of print files as they are meant; without a profile they are sRGB."""
    data = image.info.get("icc_profile")
    if not data or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    with contextlib.suppress(Exception):  # a damaged profile is no reason to refuse readable pixels
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if "sRGB" in ImageCms.getProfileDescription(profile):  # the pixels are right to the bit
            return image
        mode = "RGB" if image.mode == "CMYK" else image.mode
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode=mode)
        return converted or image
    return image


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return Image.fromarray(_to_eight_bits(np.asarray(image))).convert("RGB")
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        # Pillow converts the premultiplied modes only through their straight form.
        straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)
        colours = image.convert(straight).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale (H, W) grey of more than 8 bits to uint8, by the smallest usual white point that holds the values."""
    values = np.nan_to_num(grey.astype(np.float64), posinf=0.0, neginf=0.0).clip(0)
    top = values.max()
    usual = [1.0, 255.0, 65535.0] if grey.dtype.kind == "f" else [255.0, 65535.0]
    white = 65535.0 if grey.dtype == np.uint16 else next((limit for limit in usual if top <= limit), top)
    return np.asarray(np.rint(values * (255 / white)).astype(np.uint8))
