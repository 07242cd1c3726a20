"""What the user may change about a motion, Motion to Motion, frame by frame as a stream.

Every option acts by itself: a still head still blinks, a scaled mouth leaves the pose alone. Blinks and the small jumps
of the eyes are drawn here, not by the embedded denoiser: they do not follow from the speech. KDTalker's own denoiser
draws blinks; these are replaced where a number of blinks is asked for.
"""

from dataclasses import dataclass, replace
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from kptalk.face.geometry import smoothstep
from kptalk.motion.filters.buffer import FrameBuffer
from kptalk.motion.filters.resample import resample
from kptalk.motion.generator import FPS
from kptalk.motion.space import MotionSpace, SourceT
from kptalk.options import Control
from kptalk.types import Array, Motion

EASE_FRAMES = 7  # 0.28 s from the photo's own face into the speech, and back at the end
BLINKS_PER_MINUTE = 17.0
BLINK = (0.3, 0.8, 1.0, 0.85, 0.5, 0.25, 0.08)  # how far the lids are closed, frame by frame at 25 fps: 0.28 s
MIN_BLINK_GAP = 1.0  # seconds between two blinks; less where so many are wanted that there is no room for it
FOLLOW = np.array([0.012, -0.012], np.float32)  # gaze units per degree of yaw and pitch: the eyes stay on the viewer
SACCADE = (0.05, 0.025)  # spread of where the eyes rest, to the side and up or down, in gaze units


@dataclass(frozen=True)
class EyeState:
    """The blink and the saccade that are under way; each one's randomness follows from its number."""

    blink: int = 0
    blink_begins: int = 0
    saccade: int = 0
    gaze: tuple[float, float] = (0.0, 0.0)
    target: tuple[float, float] = (0.0, 0.0)
    target_until: int = 0


@dataclass(frozen=True)
class ControlState:
    """Where a stream stands: the seed, the frames held back for the ease at the end, and the eyes."""

    seed: int
    frames: FrameBuffer
    eyes: EyeState


class Controller(Generic[SourceT]):
    """Applies a ``Control`` to the motion of one portrait, at 25 fps."""

    def __init__(self, space: MotionSpace[SourceT], source: SourceT, control: Control, own_blinks: bool) -> None:
        """Take the portrait and the options.

        Args:
            space: of the motion.
            source: the portrait in it.
            control: the options; a pose that is taken from a file has been read.
            own_blinks: whether the motion that is controlled has blinks and gaze of its own.

        Raises:
            MotionError: the pose is a motion of another motion space, or one that no face makes.
        """
        self.space, self.source, self.control = space, source.motion, control
        self.anatomy, self.own = space.anatomy(source), space.to_head_frame(source.motion)[0]
        self.driver: Motion | None = None
        if isinstance(control.pose, Motion):
            control.pose.require_space(space.id, space.keypoints)
            control.pose.require_bounds()
            self.driver = resample(control.pose, FPS)
        self.replace_eyes = own_blinks and control.blinks is not None
        usual = 0.0 if own_blinks else BLINKS_PER_MINUTE
        self.blinks = usual if control.blinks is None else control.blinks
        self.ease_frames = EASE_FRAMES if control.ease_in_out else 0

    def start(self, seed: int) -> ControlState:
        """State before the first frame."""
        begins = int(np.random.default_rng([seed, 1]).uniform(25, 75))
        return ControlState(seed, FrameBuffer(), EyeState(blink_begins=begins))

    def step(self, motion: Motion, activity: Array, state: ControlState) -> tuple[Motion, ControlState]:
        """Control the next frames; the last few are held back, because they may be the end.

        Args:
            motion: (n frames) generated motion.
            activity: (n,) how much speech each frame holds, 0 to 1.
            state: of the stream.
        """
        controlled, eyes = self._controlled(motion, activity, state)
        frames = state.frames.append(controlled, activity)
        until = max(frames.next, frames.end - self.ease_frames)
        assert frames.kept is not None
        return frames.kept[: until - frames.first], replace(state, frames=frames.advance(until, 0), eyes=eyes)

    def finish(self, state: ControlState) -> Motion:
        """The frames held back, eased to the photo's own face."""
        waiting = self.source[:0] if state.frames.kept is None else state.frames.kept
        if not len(waiting) or not self.ease_frames:
            return waiting
        away = smoothstep((np.arange(len(waiting), 0, -1) - 1) / max(self.ease_frames - 1, 1))
        return self._blend(waiting, away.astype(np.float32))

    def _controlled(self, motion: Motion, activity: Array, state: ControlState) -> tuple[Motion, EyeState]:
        control, first, n = self.control, state.frames.end, len(motion)
        change = self.space.to_head_frame(motion) - self.anatomy.rest
        mouth = self.space.region("mouth", change)
        others = change - mouth
        if self.replace_eyes:
            others = others - self.space.region("eyes", others)
        mouth = mouth * control.mouth_scale
        if control.silence_gate:
            mouth = mouth * activity[:, None, None]
        posed = self._posed(motion, first)
        lids, gaze, eyes = self._eyes(first, n, state.seed, state.eyes)
        turned = posed.rotation[:, :2] - self.source.rotation[:, :2]
        gaze = (gaze + np.clip(FOLLOW * turned, -0.25, 0.25)).astype(np.float32)
        expression = mouth + control.expression_scale * others + self.anatomy.rest
        expression = expression + lids[:, None, None] * self.anatomy.blink
        expression = expression + np.einsum("tg,gkd->tkd", gaze, self.anatomy.gaze)
        controlled = posed.with_fields(expression=self.space.from_head_frame(expression, posed.rotation))
        if self.ease_frames and first < self.ease_frames:
            away = smoothstep(np.arange(first, first + n) / self.ease_frames)
            controlled = self._blend(controlled, away.astype(np.float32))
        return controlled, eyes

    def _posed(self, motion: Motion, first: int) -> Motion:
        """Scale, rotation and translation as the user wants them."""
        control, own, n = self.control, self.source, len(motion)
        if control.pose == "still":
            still = own.repeat(n)
            motion = motion.with_fields(scale=still.scale, rotation=still.rotation, translation=still.translation)
        elif self.driver is not None:
            driver, frames = self.driver, _ping_pong(np.arange(first, first + n), len(self.driver))
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

    def _eyes(self, first: int, n: int, seed: int, eyes: EyeState) -> tuple[Array, Array, EyeState]:
        """Closure of the lids (n,) and gaze (n, 2) for the next frames."""
        lids, gaze = np.zeros(n, np.float32), np.zeros((n, 2), np.float32)
        for i, frame in enumerate(range(first, first + n)):
            if frame >= eyes.target_until:
                rng = np.random.default_rng([seed, 2, eyes.saccade])
                x, y = (rng.standard_normal(2) * SACCADE).tolist()
                until = frame + int(25 * (0.5 + rng.exponential(1.2)))
                eyes = replace(eyes, saccade=eyes.saccade + 1, target=(x, y), target_until=until)
            x, y = (at + 0.6 * (to - at) for at, to in zip(eyes.gaze, eyes.target, strict=True))
            eyes, gaze[i] = replace(eyes, gaze=(x, y)), (x, y)
            if self.blinks and frame >= eyes.blink_begins:
                lids[i] = BLINK[frame - eyes.blink_begins]
                if frame - eyes.blink_begins == len(BLINK) - 1:
                    eyes = replace(eyes, blink=eyes.blink + 1, blink_begins=frame + self._gap(seed, eyes.blink))
        return lids, gaze, eyes

    def _gap(self, seed: int, blink: int) -> int:
        """Frames from the end of a blink to the next one."""
        mean = 60 / self.blinks - len(BLINK) / 25  # seconds of open eyes
        gap = min(MIN_BLINK_GAP, 0.8 * mean)
        rng = np.random.default_rng([seed, 3, blink])
        return max(1, round(25 * (gap + rng.gamma(3, (mean - gap) / 3))))

    def _blend(self, motion: Motion, away: Array) -> Motion:
        """Between the photo's own motion (0) and ``motion`` (1), by ``away`` (n,)."""
        own, w = self.source, away[:, None]
        rotation = own.rotation + w * (motion.rotation - own.rotation)
        expression = self.own + w[..., None] * (self.space.to_head_frame(motion) - self.own)
        return motion.with_fields(
            scale=own.scale + w * (motion.scale - own.scale),
            rotation=rotation,
            translation=own.translation + w * (motion.translation - own.translation),
            expression=self.space.from_head_frame(expression, rotation),
        )


def _ping_pong(frames: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Frame numbers that run to the end of a clip and back again, for as long as needed."""
    if length == 1:
        return np.zeros_like(frames)
    around = frames % (2 * (length - 1))
    return np.where(around < length, around, 2 * (length - 1) - around)
