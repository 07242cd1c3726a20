"""Small good files of every kind, made by code, and damage to them: what ``fuzz.py`` starts from."""

from __future__ import annotations

import io
import json
import re
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

INTERESTING = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\0\0\0\0",
    b"\xff" * 4,
    b"\x7f" + b"\xff" * 3,
    b"\x80" + b"\0" * 3,
    b"\xff" * 8,
)
UNPRINTED = set(range(32)) - set(b"\t\r\n")
WORD = re.compile(rb'"[^"]*"\s*:|"[^"]*"|[-\w.+]+')  # of JSON and tables
WORDS = (b"0", b"-1", b"7", b"0.5", b"1e999", b"NaN", b"true", b"null", b"[]", b"{}", b'""', b'"x"')
WORDS += (b"9" * 30, b"[" * 9999)


def _picture(side: int = 96) -> np.ndarray:
    down, right = np.mgrid[0:side, 0 : side + 16].astype(np.uint8)
    return np.stack([down, right * 2, down ^ right], -1)


def _photos() -> dict[str, list[bytes]]:
    from PIL import Image

    image = Image.fromarray(_picture())

    def saved(picture: Image.Image, format: str, **options: object) -> bytes:
        file = io.BytesIO()
        picture.save(file, format, **options)
        return file.getvalue()

    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray(_picture()[..., 0])
    deep = Image.fromarray(_picture()[..., 0].astype(np.uint16) * 200)
    found = {
        "jpg": [
            saved(image, "JPEG", exif=exif),
            saved(image, "JPEG", progressive=True),
            saved(image.convert("CMYK"), "JPEG"),
        ],
        "png": [saved(each, "PNG") for each in (image, image.convert("RGBA"), image.convert("P"), deep)],
        "webp": [saved(image, "WEBP"), saved(image.convert("RGBA"), "WEBP", lossless=True)],
        "gif": [saved(image, "GIF", save_all=True, append_images=[grey, image])],
        "tiff": [saved(image, "TIFF", compression="tiff_lzw"), saved(deep, "TIFF")],
    }
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
        found["heic"] = [saved(image, "HEIF")]
    return found


def _media(format: str, video: str | None, audio: str | None, rate: int = 16_000, frames: int = 8) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        pictures = container.add_stream(video, rate=25) if video else None
        sound = container.add_stream(audio, rate=rate, layout="mono") if audio else None
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 112, 96, "yuv420p"
            for k in range(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(_picture(), k, 1)), "rgb24")
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode(None))
        if sound is not None:
            tone = (0.3 * np.sin(np.arange(rate // 2) / 9)).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
            frame.sample_rate = rate
            resampler = av.AudioResampler(
                sound.codec_context.format.name, "mono", rate, sound.codec_context.frame_size or None
            )
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(sound.encode(piece))
            container.mux(sound.encode(None))
    return file.getvalue()


def _signed(folder: Path) -> bytes:
    from kptalk.provenance.certificates import make_certificates
    from kptalk.provenance.signing import Signer

    _, chain, key = make_certificates(folder / "keys", "fuzz")
    path = folder / "signed.mp4"
    path.write_bytes(_media("mp4", "libx264", "aac"))
    Signer.load(chain, key).sign(path, {"portrait": "0" * 64})
    return path.read_bytes()


def _motion(folder: Path) -> bytes:
    from kptalk.types import Motion

    rng = np.random.default_rng(0)
    frames = 12
    parts = [
        np.ones((frames, 1)),
        rng.normal(size=(frames, 3)),
        0.1 * rng.normal(size=(frames, 3)),
        0.01 * rng.normal(size=(frames, 21, 3)),
    ]
    path = folder / "motion.safetensors"
    Motion(*(part.astype(np.float32) for part in parts), Fraction(25), "facemesh").save(path)
    return path.read_bytes()


def _parquet(rows: list[dict[str, object]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


def seeds(folder: Path) -> dict[str, list[bytes]]:
    """Good files of every kind."""
    found = _photos()
    found["wav"] = [_media("wav", None, codec) for codec in ("pcm_s16le", "pcm_f32le", "adpcm_ms", "pcm_u8")]
    found["mp3"] = [_media("mp3", None, "libmp3lame")]
    found["m4a"] = [_media("ipod", None, "aac")]
    found["flac"] = [_media("flac", None, "flac")]
    found["ogg"] = [_media("ogg", None, "libopus", 48_000)]
    found["webm"] = [_media("webm", "libvpx", "libopus", 48_000)]
    found["mp4"] = [_media("mp4", "libx264", "aac"), _media("mov", "mpeg4", "pcm_s16le")]
    found["mkv"] = [_media("matroska", "libx264", "ac3", 48_000)]
    with suppress(ImportError):
        found["signed"] = [_signed(folder)]
    found["motion"] = [_motion(folder)]
    from kptalk.weights.header import embedded_path

    model = embedded_path("motion").parent
    found["model"] = [path.name.encode() + b"\0" + path.read_bytes() for path in sorted(model.glob("*.safetensors"))]
    found["model"] += [b"model.json\0" + (model / "model.json").read_bytes()] * len(found["model"])
    found["job"] = [
        b'{"seed": 7, "fps": "30000/1001", "size": 512, "framing": "crop", "pose": "still", "blinks": 12.5}',
        b'{"fps": 25, "size": "256", "mode": "absolute", "region": "lips", "stitch": false, "watermark": true}',
    ]
    found["table"] = [b"file,name,identity,start,end\na.mp4,a,me,0.5,2\nb.mp4,b,you,,\n"]
    rows = [{"portrait": "face.jpg", "speech": "speech.wav", "output": f"{k}.mp4", "seed": k} for k in range(3)]
    rows.append({"portrait": "face.jpg", "speech": "speech.wav", "output": "a/b.mp4", "face": 2, "blinks": "off"})
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    found["rows"] = ["".join(",".join(line) + "\n" for line in lines).encode()]
    found["rows"] += ["".join(json.dumps(row) + "\n" for row in rows).encode()]
    with suppress(ImportError):
        found["rows"] += [_parquet(rows[:3])]
    found["list"] = [b'\xef\xbb\xbfname,sha256,frames\r\n"a, b.mp4",' + b"0a" * 32 + b",25\r\n"]
    return found


def _other_words(text: bytes, rng: np.random.Generator) -> bytes:
    """A text with one or two words or numbers replaced by others: JSON stays JSON, a table a table."""
    for _ in range(int(rng.integers(1, 3))):
        words = [word for word in WORD.finditer(text) if not word[0].endswith(b":")]  # keys stay
        if words:
            word = words[int(rng.integers(len(words)))]
            others = (*WORDS, *sorted({each[0] for each in words}))
            text = text[: word.start()] + others[int(rng.integers(len(others)))] + text[word.end() :]
    return text


def damaged(good: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A copy with some damage; half of it where headers are, and little of it in little files."""
    data = bytearray(good)
    head = good.index(0) + 1 if good[:1].isalpha() and b"\0" in good[:64] else 0  # a name, of the files of a model
    if not (set(good[head:]) & UNPRINTED) and rng.random() < 0.7:
        return good[:head] + _other_words(good[head:], rng)
    most = min(512, 1 + len(good) // 16)  # bytes of one damage
    keep = data.index(0) + 1 if other is good and data[:1].isalpha() and b"\0" in data[:64] else 0

    def place() -> int:
        end = min(len(data), 4096) if rng.random() < 0.5 else len(data)
        return int(rng.integers(min(keep, max(0, end - 1)), max(end, keep + 1)))

    for _ in range(int(rng.integers(1, 5 if len(good) > 1000 else 3))):
        if not data:
            break
        kind, at = int(rng.integers(9)), place()
        size = int(rng.integers(1, 1 + min(len(data), most)))
        if kind == 0:
            for _ in range(int(rng.integers(1, 1 + min(19, most)))):
                data[min(place(), len(data) - 1)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            piece = INTERESTING[int(rng.integers(len(INTERESTING)))]
            data[at : at + len(piece)] = piece
        elif kind == 2:
            data[at : at + size] = rng.bytes(size)
        elif kind == 3:
            del data[at : at + size]
        elif kind == 4:
            data[at:at] = data[at : at + size] * int(rng.integers(1, 8))
        elif kind == 5:
            del data[max(keep, at) :]
        elif kind == 6:
            start = int(rng.integers(len(other)))
            data[at : at + size] = other[start : start + size]
        elif kind == 7:  # a size that a header states
            value = int(rng.choice([0, 1, 255, 65_535, 1 << 24, (1 << 31) - 1, (1 << 32) - 1, len(data)]))
            data[at : at + 4] = value.to_bytes(4, "big" if rng.random() < 0.5 else "little")
        else:
            digits = [k for k, byte in enumerate(data[:4096]) if 48 <= byte < 58]
            for k in rng.permutation(digits)[:3] if digits else ():
                data[k : k + 1] = bytes(rng.choice([b"9" * 20, b"-1", b"1e999", b"nan", b"0", b"\xff"]))
    return bytes(data)
