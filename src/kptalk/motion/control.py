"""What the user may change about a motion, Motion to Motion, frame by frame as a stream.

Every option acts by itself: a still head still blinks, a scaled mouth leaves the pose alone. Blinks and the small jumps
of the eyes are drawn here, not by the embedded denoiser: they do not follow from the speech. They follow the head:
people blink more at turns, and their eyes go first to where the head will turn. KDTalker's own denoiser draws blinks;
these are replaced where a number of blinks is asked for. How often a person blinks, and how much mouth and face move,
belong to the style.
"""

from dataclasses import dataclass, replace
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from kptalk.face.geometry import smoothstep
from kptalk.motion.filters.buffer import FrameBuffer
from kptalk.motion.filters.resample import resample
from kptalk.motion.generator import FPS
from kptalk.motion.head import BLINKS, FACE, MOUTH, Doubles
from kptalk.motion.space import MotionSpace, SourceT
from kptalk.options import Control
from kptalk.types import Array, Motion

EASE_FRAMES = 7  # 0.28 s from the photo's own face into the speech, and back at the end
BLINKS_PER_MINUTE = 17.0
BLINK = (0.3, 0.8, 1.0, 0.85, 0.5, 0.25, 0.08)  # how far the lids are closed, frame by frame at 25 fps: 0.28 s
MIN_BLINK_GAP = 1.0  # seconds between two blinks; less where so many are wanted that there is no room for it
FOLLOW = np.array([0.012, -0.012], np.float32)  # gaze units per degree of yaw and pitch: the eyes stay on the viewer
LEAD = 4  # frames by which the eyes are ahead of the head
LEADING = np.array([-0.0047, 0.0015], np.float32)  # gaze units per degree that it will turn in these, as measured
TURNS, BLINK_RATES = (2.5, 7.5, 15.0, 25.0, 40.0), (0.64, 0.95, 1.09, 1.2, 1.3)  # by degrees per second, as measured
TURN_MEMORY = 250.0  # frames over which the mean of these rates is kept at 1
MANNERS = {MOUTH: (0.7, 1.4), FACE: (0.5, 2.0), BLINKS: (0.4, 2.5)}  # bounds of what a style multiplies
SACCADE = (0.05, 0.025)  # spread of where the eyes rest, to the side and up or down, in gaze units


@dataclass(frozen=True)
class EyeState:
    """The blink and the saccade that are under way; each one's randomness follows from its number.

    ``until_blink`` frames remain at the usual rate of blinks, which the head's turns hasten; at 0 and below a blink is
    under way. ``rate`` is the mean rate so far, ``rotation`` that of the frame before.
    """

    blink: int = 0
    until_blink: float = 0.0
    rate: float = 1.0
    rotation: tuple[float, ...] = ()
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

    def __init__(
        self,
        space: MotionSpace[SourceT],
        source: SourceT,
        control: Control,
        own_blinks: bool,
        style: Doubles | None = None,
        live: bool = False,
    ) -> None:
        """Take the portrait and the options.

        Args:
            space: of the motion.
            source: the portrait in it.
            control: the options; a pose that is taken from a file has been read.
            own_blinks: whether the motion that is controlled has blinks and gaze of its own.
            style: (17,) of the person, see ``kptalk.motion.head``; None or (0,) for a model that knows no styles.
            live: no frame is held back, so nothing eases at the ends, and the eyes do not lead the head.

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
        self.mouth, self.face, often = (
            1.0 if style is None or not len(style) else float(np.clip(np.exp(style[k]), *bounds))
            for k, bounds in MANNERS.items()
        )
        usual = 0.0 if own_blinks else BLINKS_PER_MINUTE * often
        self.leads = not own_blinks and not live
        self.blinks = usual if control.blinks is None else control.blinks
        self.ease_frames = EASE_FRAMES if control.ease_in_out and not live else 0

    def start(self, seed: int) -> ControlState:
        """State before the first frame."""
        begins = np.random.default_rng([seed, 1]).uniform(25, 75)
        return ControlState(seed, FrameBuffer(), EyeState(until_blink=begins))

    def step(self, motion: Motion, activity: Array, state: ControlState) -> tuple[Motion, ControlState]:
        """Control the next frames; the last few are held back, because they may be the end.

        Args:
            motion: (n frames) generated motion.
            activity: (n,) how much speech each frame holds, 0 to 1.
            state: of the stream.
        """
        controlled, eyes = self._controlled(motion, activity, state)
        frames = state.frames.append(controlled, activity)
        until = max(frames.next, frames.end - max(self.ease_frames, LEAD if self.leads else 0))
        ready = self._leading(frames)[: until - frames.first]
        return ready, replace(state, frames=frames.advance(until, 0), eyes=eyes)

    def finish(self, state: ControlState) -> Motion:
        """The frames held back, eased to the photo's own face."""
        waiting = self.source[:0] if state.frames.kept is None else self._leading(state.frames)
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
        mouth = mouth * (self.mouth * control.mouth_scale)
        if control.silence_gate:
            mouth = mouth * activity[:, None, None]
        posed = self._posed(motion, first)
        lids, gaze, eyes = self._eyes(first, posed.rotation, state.seed, state.eyes)
        turned = posed.rotation[:, :2] - self.source.rotation[:, :2]
        gaze = (gaze + np.clip(FOLLOW * turned, -0.25, 0.25)).astype(np.float32)
        expression = mouth + self.face * control.expression_scale * others + self.anatomy.rest
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

    def _leading(self, frames: FrameBuffer) -> Motion:
        """The frames that wait, with the eyes ahead of where the head turns; not yet at the easy start."""
        assert frames.kept is not None
        motion, n = frames.kept, len(frames.kept)
        if not self.leads:
            return motion
        later = np.minimum(np.arange(n) + LEAD, n - 1)
        gaze = np.clip(LEADING * (motion.rotation[later, :2] - motion.rotation[:, :2]), -0.1, 0.1)
        if self.ease_frames:
            gaze = gaze * smoothstep(np.arange(frames.first, frames.first + n) / self.ease_frames)[:, None]
        change = np.einsum("tg,gkd->tkd", gaze.astype(np.float32), self.anatomy.gaze)
        return motion.with_fields(expression=motion.expression + self.space.from_head_frame(change, motion.rotation))

    def _eyes(self, first: int, rotation: Array, seed: int, eyes: EyeState) -> tuple[Array, Array, EyeState]:
        """Closure of the lids (n,) and gaze (n, 2) for the next frames, of a head that turns to ``rotation`` (n, 3)."""
        n = len(rotation)
        lids, gaze = np.zeros(n, np.float32), np.zeros((n, 2), np.float32)
        before = np.concatenate([np.array([eyes.rotation or rotation[0]]), rotation])[:n] if n else rotation
        turning = float(FPS) * np.linalg.norm((rotation - before)[:, :2], axis=1)
        rates = np.ones(n) if self.control.pose == "still" else np.interp(turning, TURNS, BLINK_RATES)
        for i, frame in enumerate(range(first, first + n)):
            if frame >= eyes.target_until:
                rng = np.random.default_rng([seed, 2, eyes.saccade])
                x, y = (rng.standard_normal(2) * SACCADE).tolist()
                until = frame + int(25 * (0.5 + rng.exponential(1.2)))
                eyes = replace(eyes, saccade=eyes.saccade + 1, target=(x, y), target_until=until)
            x, y = (at + 0.6 * (to - at) for at, to in zip(eyes.gaze, eyes.target, strict=True))
            rate = eyes.rate + (rates[i] - eyes.rate) / TURN_MEMORY
            eyes, gaze[i] = replace(eyes, gaze=(x, y), rate=rate), (x, y)
            if not self.blinks:
                continue
            passed = -int(eyes.until_blink)  # frames of the blink
            if eyes.until_blink > 1e-9:
                eyes = replace(eyes, until_blink=max(0.0, eyes.until_blink - rates[i] / rate))
            elif passed < len(BLINK) - 1:
                lids[i], eyes = BLINK[passed], replace(eyes, until_blink=-float(passed + 1))
            else:
                lids[i] = BLINK[passed]
                eyes = replace(eyes, blink=eyes.blink + 1, until_blink=self._gap(seed, eyes.blink))
        last = tuple(rotation[-1].tolist()) if n else eyes.rotation
        return lids, gaze, replace(eyes, rotation=last)

    def _gap(self, seed: int, blink: int) -> float:
        """Frames from the end of a blink to the next one."""
        mean = 60 / self.blinks - len(BLINK) / 25  # seconds of open eyes
        gap = min(MIN_BLINK_GAP, 0.8 * mean)
        rng = np.random.default_rng([seed, 3, blink])
        return max(1.0, 25 * (gap + float(rng.gamma(3, (mean - gap) / 3))))

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
