"""kptalk: one portrait and one speech recording become a talking video.

From Python::

    import kptalk

    kptalk.animate("face.jpg", "speech.wav").save("out.mp4")

    pipeline = kptalk.Pipeline.from_pretrained("embedded")      # keep the model loaded
    for frame in pipeline.animate("face.jpg", "speech.wav"):    # (H, W, 3) uint8 RGB
        ...

What it does is logged under the name ``kptalk``; nothing is printed.
"""

from importlib import import_module as _import_module

from kptalk import errors
from kptalk.version import __version__

TYPE_CHECKING = False  # typing takes long to import, and the program could not answer Ctrl-C meanwhile
if TYPE_CHECKING:
    from kptalk.job import Animation
    from kptalk.live import LiveAnimation
    from kptalk.media.audio import Speech
    from kptalk.media.given import SpeechLike
    from kptalk.media.tts import speak
    from kptalk.options import Control, Options, ReenactOptions, RetargetOptions
    from kptalk.pipeline import Pipeline, PortraitLike, animate
    from kptalk.types import Motion, Portrait

del TYPE_CHECKING

__all__ = [
    "Animation",
    "Control",
    "LiveAnimation",
    "Motion",
    "Options",
    "Pipeline",
    "Portrait",
    "PortraitLike",
    "ReenactOptions",
    "RetargetOptions",
    "Speech",
    "SpeechLike",
    "__version__",
    "animate",
    "errors",
    "speak",
]

# Loaded when first used: ``kptalk --help`` need not wait for torch, and the program can explain what cannot be loaded.
_MODULES = {
    "kptalk.job": ("Animation",),
    "kptalk.live": ("LiveAnimation",),
    "kptalk.media.audio": ("Speech",),
    "kptalk.media.given": ("SpeechLike",),
    "kptalk.media.tts": ("speak",),
    "kptalk.options": ("Control", "Options", "ReenactOptions", "RetargetOptions"),
    "kptalk.pipeline": ("Pipeline", "PortraitLike", "animate"),
    "kptalk.types": ("Motion", "Portrait"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'kptalk' has no attribute {name!r}")
    globals()[name] = getattr(_import_module(_HOMES[name]), name)
    return globals()[name]
