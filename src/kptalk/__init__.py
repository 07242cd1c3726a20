"""kptalk: one portrait and one speech recording become a talking video.

From Python::

    import kptalk

    kptalk.animate("face.jpg", "speech.wav").save("out.mp4")

    pipeline = kptalk.Pipeline.from_pretrained("embedded")      # keep the models loaded
    for frame in pipeline.stream("face.jpg", "speech.wav"):     # (H, W, 3) uint8 RGB
        ...
"""

from kptalk import errors
from kptalk.media.audio import Speech
from kptalk.motion.control import Control
from kptalk.pipeline import Animation, Options, Pipeline, animate
from kptalk.types import Motion, Portrait
from kptalk.version import __version__

__all__ = [
    "Animation",
    "Control",
    "Motion",
    "Options",
    "Pipeline",
    "Portrait",
    "Speech",
    "__version__",
    "animate",
    "errors",
]
