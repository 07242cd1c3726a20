"""Zero-phase smoothing of drawn motion: the head moves slowly, lips and lids fast, and each is smoothed as such.

The tracker's jitter is part of what the denoiser learned. The head's pose is convolved with a Gaussian of 0.1 s, the
expression with a kernel that hardly touches what speech does (down 3 dB at 8 Hz).
"""

import numpy as np

from kptalk.motion.facemesh.space import from_head_frame, to_head_frame
from kptalk.types import Array, Motion

RADIUS = 7  # frames on either side
POSE_SIGMA = 2.5  # frames at 25 fps
EXPRESSION_KERNEL = (0.15, 0.7, 0.15)
EXPRESSION_RADIUS = 1  # of ``smooth_expression``


def smooth(motion: Motion) -> Motion:
    """Smooth a motion of ``facemesh`` or ``landmark`` at 25 fps; its first and last frames repeat beyond the ends."""
    offsets = np.arange(-RADIUS, RADIUS + 1)
    gaussian = np.exp(-0.5 * (offsets / POSE_SIGMA) ** 2)
    gaussian /= gaussian.sum()
    rotation = _convolve(motion.rotation, gaussian)
    expression = _convolve(to_head_frame(motion), np.array(EXPRESSION_KERNEL))
    return motion.with_fields(
        scale=_convolve(motion.scale, gaussian),
        rotation=rotation,
        translation=_convolve(motion.translation, gaussian),
        expression=from_head_frame(expression, rotation),
    )


def smooth_expression(motion: Motion) -> Motion:
    """The same for a motion whose head is not drawn by the denoiser: its pose stays as it is."""
    expression = _convolve(to_head_frame(motion), np.array(EXPRESSION_KERNEL))
    return motion.with_fields(expression=from_head_frame(expression, motion.rotation))


def _convolve(values: Array, kernel: Array) -> Array:
    """Along the first axis, with the ends repeated."""
    radius = len(kernel) // 2
    padded = np.concatenate([values[:1].repeat(radius, 0), values, values[-1:].repeat(radius, 0)])
    out: Array = sum(weight * padded[i : i + len(values)] for i, weight in enumerate(kernel)).astype(np.float32)
    return out
