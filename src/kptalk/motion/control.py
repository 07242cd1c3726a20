"""What the user may change about a motion, Motion to Motion, frame by frame as a stream.

Every knob acts by itself: a still head still blinks, a scaled mouth leaves the pose alone. Blinks and the small jumps
of the eyes are drawn here, not by the embedded denoiser: they do not follow from the speech. KDTalker's own denoiser
draws blinks; these are replaced where a number of blinks is asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from kptalk.errors import MotionError, OptionError
from kptalk.motion.facemesh.regions import Anatomy
from kptalk.motion.filters import resample
from kptalk.types import Array, Motion

FPS = Fraction(25)
EASE_SECONDS = 0.28  # from the photo's own face into the speech, and back at the end
BLINKS_A_MINUTE = 17.0
BLINK = (0.3, 0.8, 1.0, 0.85, 0.5, 0.25, 0.08)  # how far the lids are closed, frame by frame at 25 fps: 0.28 s
SHORTEST_GAP = 1.0  # seconds between two blinks; less where so many are wanted that there is no room for it
FOLLOW = np.array([0.012, -0.012], np.float32)  # gaze units a degree of yaw and pitch: the eyes stay on the viewer
SACCADE = (0.05, 0.025)  # spread of where the eyes rest, to the side and up or down, in gaze units


@dataclass(frozen=True)
class Control:
    """The knobs.

    Attributes:
        pose: ``auto`` (generated), ``still`` (the photo's own), or a motion whose pose is taken.
        pose_scale: size of the head's movement about the photo's pose.
        mouth_scale: size of the mouth's movement.
        expression_scale: size of all other movement of the face.
        yaw: degrees added to the head's turn; ``pitch`` and ``roll`` likewise.
        blinks: blinks a minute; 0 for none, None for the motion's own or else 17.
        gate: whether the mouth rests where there is no speech.
        ease: whether the video starts and ends with the photo's own face.
    """

    pose: str | Motion = "auto"
    pose_scale: float = 1.0
    mouth_scale: float = 1.0
    expression_scale: float = 1.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    blinks: float | None = None
    gate: bool = True
    ease: bool = True

    def __post_init__(self) -> None:
        limits = {
            "pose_scale": (0, 3),
            "mouth_scale": (0, 3),
            "expression_scale": (0, 3),
            "yaw": (-30, 30),
            "pitch": (-25, 25),
            "roll": (-30, 30),
            "blinks": (0, 60),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is None and name == "blinks":
                continue
            if not (math.isfinite(value) and low <= value <= high):
                raise OptionError(f"{name.replace('_', '-')} is {value}: give a number from {low} to {high}")
        if isinstance(self.pose, str) and self.pose not in ("auto", "still"):
            raise OptionError(f"pose is {self.pose!r}: give auto, still or a motion")
        if not len(self.pose):
            raise OptionError("pose is a motion without frames: give auto, still or a motion")


@dataclass(frozen=True)
class ControlState:
    """Where a stream stands: the frame number, what is held back for the ease at the end, blinks and gaze."""

    frame: int
    waiting: Motion
    next_blink: int
    blink_phase: int
    gaze: Array
    gaze_target: Array
    gaze_until: int
    rng: np.random.Generator = field(repr=False)


class Controller:
    """Applies a ``Control`` to the motion of one portrait, at 25 frames a second."""

    def __init__(self, anatomy: Anatomy, control: Control) -> None:
        """Take the portrait and the knobs.

        Raises:
            MotionError: the pose is a motion of another motion space.
        """
        self.anatomy, self.control = anatomy, control
        self.driver = _driver(control.pose, anatomy.space) if isinstance(control.pose, Motion) else None
        self.own = anatomy.level(anatomy.own)[0]
        self.eyes_replaced = anatomy.blinks and control.blinks is not None
        usual = 0.0 if anatomy.blinks else BLINKS_A_MINUTE
        self.blinks = usual if control.blinks is None else control.blinks
        self.ease_frames = round(EASE_SECONDS * 25) if control.ease else 0

    def start(self, seed: int) -> ControlState:
        """State before the first frame."""
        rng = np.random.default_rng([seed, 1])
        zero = np.zeros(2, np.float32)
        return ControlState(0, self.anatomy.own[:0], int(rng.uniform(25, 75)), -1, zero, zero, 0, rng)

    def step(self, motion: Motion, activity: Array, state: ControlState) -> tuple[Motion, ControlState]:
        """Control the next frames; the last few are held back, because they may be the end.

        Args:
            motion: (n frames) generated motion.
            activity: (n,) how much speech each frame holds, 0 to 1.
            state: of the stream.
        """
        if len(motion):
            motion, state = self._controlled(motion, activity, state)
        joined = Motion.concatenate([state.waiting, motion])
        ready = max(0, len(joined) - self.ease_frames)
        return joined[:ready], replace(state, waiting=joined[ready:])

    def finish(self, state: ControlState) -> Motion:
        """The frames held back, eased to the photo's own face."""
        n = len(state.waiting)
        if not n or not self.ease_frames:
            return state.waiting
        away = _smooth((np.arange(n, 0, -1) - 1) / max(self.ease_frames - 1, 1))
        return self._blend(state.waiting, away.astype(np.float32))

    def _controlled(self, motion: Motion, activity: Array, state: ControlState) -> tuple[Motion, ControlState]:
        control, anatomy, n = self.control, self.anatomy, len(motion)
        change = anatomy.level(motion) - anatomy.rest
        mouth = anatomy.mouth(change)
        others = change - mouth
        if self.eyes_replaced:
            others = others - anatomy.eyes(others)
        mouth = mouth * control.mouth_scale
        if control.gate:
            mouth = mouth * activity[:, None, None]
        posed = self._posed(motion, state.frame)
        lids, look, state = self._eyes(n, posed.rotation, state)
        expression = mouth + control.expression_scale * others + anatomy.rest
        expression = expression + lids[:, None, None] * anatomy.blink + np.einsum("tg,gkd->tkd", look, anatomy.gaze)
        done = posed.with_fields(expression=anatomy.turned(expression, posed.rotation))
        if self.ease_frames and state.frame < self.ease_frames:
            away = _smooth(np.clip(np.arange(state.frame, state.frame + n) / self.ease_frames, 0, 1))
            done = self._blend(done, away.astype(np.float32))
        return done, replace(state, frame=state.frame + n)

    def _posed(self, motion: Motion, first: int) -> Motion:
        """Scale, rotation and translation as the user wants them."""
        control, own, n = self.control, self.anatomy.own, len(motion)
        if control.pose == "still":
            motion = motion.with_fields(
                scale=np.repeat(own.scale, n, 0),
                rotation=np.repeat(own.rotation, n, 0),
                translation=np.repeat(own.translation, n, 0),
            )
        elif self.driver is not None:
            driver = self.driver
            frames = _ping_pong(np.arange(first, first + n), len(driver))
            motion = motion.with_fields(
                scale=own.scale * driver.scale[frames] / driver.scale[:1],
                rotation=own.rotation + driver.rotation[frames] - driver.rotation[:1],
                translation=own.translation + driver.translation[frames] - driver.translation[:1],
            )
        offset = np.array([control.yaw, control.pitch, control.roll], np.float32)
        scale = np.float32(control.pose_scale)
        return motion.with_fields(
            scale=own.scale + scale * (motion.scale - own.scale),
            rotation=own.rotation + scale * (motion.rotation - own.rotation) + offset,
            translation=own.translation + scale * (motion.translation - own.translation),
        )

    def _eyes(self, n: int, rotation: Array, state: ControlState) -> tuple[Array, Array, ControlState]:
        """Closure of the lids (n,) and gaze (n, 2) for the next frames."""
        lids, look = np.zeros(n, np.float32), np.zeros((n, 2), np.float32)
        rng, phase, next_blink = state.rng, state.blink_phase, state.next_blink
        position, target, until = state.gaze, state.gaze_target, state.gaze_until
        for i in range(n):
            frame = state.frame + i
            if frame >= until:
                target = (rng.standard_normal(2) * SACCADE).astype(np.float32)
                until = frame + int(25 * (0.5 + rng.exponential(1.2)))
            position = position + 0.6 * (target - position)
            look[i] = position
            if self.blinks and phase < 0 and frame >= next_blink:
                phase = 0
            if phase >= 0:
                lids[i] = BLINK[phase]
                phase += 1
                if phase == len(BLINK):
                    mean = 60 / self.blinks - len(BLINK) / 25  # seconds of open eyes
                    gap = min(SHORTEST_GAP, 0.8 * mean)
                    phase, next_blink = -1, frame + round(25 * (gap + rng.gamma(3, (mean - gap) / 3)))
        turned = rotation[:, :2] - self.anatomy.own.rotation[:, :2]
        look = look + np.clip(FOLLOW * turned, -0.25, 0.25)
        return (
            lids,
            look.astype(np.float32),
            replace(
                state, next_blink=next_blink, blink_phase=phase, gaze=position, gaze_target=target, gaze_until=until
            ),
        )

    def _blend(self, motion: Motion, away: Array) -> Motion:
        """Between the photo's own motion (0) and ``motion`` (1), by ``away`` (n,)."""
        own, w = self.anatomy.own, away[:, None]
        rotation = own.rotation + w * (motion.rotation - own.rotation)
        expression = self.own + w[..., None] * (self.anatomy.level(motion) - self.own)
        return motion.with_fields(
            scale=own.scale + w * (motion.scale - own.scale),
            rotation=rotation,
            translation=own.translation + w * (motion.translation - own.translation),
            expression=self.anatomy.turned(expression, rotation),
        )


def _driver(pose: Motion, space: str) -> Motion:
    """A motion whose pose is taken, at the controller's frame rate."""
    if pose.space != space:
        raise MotionError(f"pose is a motion of the space {pose.space!r}, these weights use {space!r}")
    return resample.whole(pose, FPS)


def _smooth(x: Array) -> Array:
    """Smoothstep of 0 to 1."""
    return x * x * (3 - 2 * x)


def _ping_pong(frames: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Frame numbers that run to the end of a clip and back again, for as long as needed."""
    if length == 1:
        return np.zeros_like(frames)
    around = frames % (2 * (length - 1))
    return np.where(around < length, around, 2 * (length - 1) - around)
