"""Any photo as an RGB array."""

import contextlib
import io
import warnings
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from kptalk.errors import ImageError
from kptalk.files import check_readable

MIN_SIDE = 16


def read_image(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read a photo as it is meant to be seen.

    EXIF rotation and an embedded colour profile are applied, transparency is laid on white, CMYK, grey, palette and
    16-bit pictures become RGB, and of an animation the first frame is taken.

    Returns:
        (H, W, 3) uint8 sRGB.

    Raises:
        ImageError: the file is absent, not an image, damaged, or far too small or too large.
    """
    path = Path(path)
    check_readable(path, "an image", ImageError)
    try:
        with warnings.catch_warnings():
            # Pillow only warns between its limit and twice its limit, and warns of oddities in metadata as well.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_header(path, image)
                image.load()
                return np.array(_as_rgb(_in_srgb(_upright(image))))
    except ImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise ImageError(f"{path} has more than {limit} million pixels: scale it down first") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not an image that can be read: save it as JPEG or PNG") from error
    except MemoryError as error:
        raise ImageError(f"{path} does not fit into memory: scale it down first") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, zlib.error and more
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path} is damaged ({reason}): save it again as JPEG or PNG") from error


def _check_header(path: Path, image: Image.Image) -> None:
    if image.format == "EPS":  # Pillow would hand it to Ghostscript, which executes it
        raise ImageError(f"{path} is PostScript: save it as JPEG or PNG")
    if min(image.size) < MIN_SIDE:
        width, height = image.size
        raise ImageError(f"{path} has {width}x{height} pixels: a portrait needs at least {MIN_SIDE} on each side")


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
