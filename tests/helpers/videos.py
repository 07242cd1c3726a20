"""Videos as people have them: cut, turned, uneven, late, in other colours, with more than one face."""

from fractions import Fraction

import av
import numpy as np
from media_shared import CLIPS

from kptalk.media.audio import Speech
from kptalk.media.clip import read_frames

FPS = Fraction(25)
TICKS = 90_000


def talking(name="grid_flbbc_1", seconds=None):
    """Frames of one person who talks, and the sound (N,) float32 at 16 kHz."""
    path = CLIPS / f"{name}.mp4"
    sound = np.concatenate(list(Speech.open(path).chunks()))
    frames = list(read_frames(path, FPS, end=seconds))
    return frames, sound[: len(frames) * 640]


def write_video(path, frames, sound=None, *, times=None, sound_at=0.0, pix_fmt="yuv420p", hdr=False, rotation=0):
    """Frames (H, W, 3) at 25 fps, or at ``times`` in seconds, with sound (N,) at 16 kHz that begins at ``sound_at``."""
    with av.open(str(path), "w") as container:
        options = {"crf": "12", "preset": "ultrafast"}
        if hdr:
            options |= {"x264-params": "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"}
        video = container.add_stream("libx264", rate=25, options=options)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = video.time_base = Fraction(1, TICKS)
        audio = None if sound is None else container.add_stream("aac", rate=16_000, layout="mono")
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
            picture.pts = round((number / 25 if times is None else times[number]) * TICKS)
            picture.time_base = Fraction(1, TICKS)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio is not None:
            block = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), "fltp", "mono")
            block.sample_rate, block.pts, block.time_base = 16_000, round(sound_at * 16_000), Fraction(1, 16_000)
            container.mux([*audio.encode(block), *audio.encode(None)])
    if rotation:
        _turn(path, rotation)
    return path


def _turn(path, degrees):
    """Write the display matrix of a phone that was held sideways into the header of an MP4."""
    matrix = {90: (0, 1, 0, -1, 0, 0, 0, 0, 0x4000), 270: (0, -1, 0, 1, 0, 0, 0, 0, 0x4000)}[degrees]
    content = path.read_bytes()
    at = content.index(b"tkhd") + 4 + 40  # of the video, which comes first
    words = b"".join((value << 16).to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(content[:at] + words + content[at + 36 :])
