"""One pair of videos measured: by all metrics in this process, or in a worker that has opened its own."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import tee, zip_longest
from pathlib import Path
from typing import Any

from kptalk.ahead import read_ahead
from kptalk.errors import InputError
from kptalk.evaluate.metric import FPS, RATE, AudioPair, Metric
from kptalk.evaluate.result import ClipResult
from kptalk.evaluate.sampling import read_audio, sample_frames
from kptalk.evaluate.speed import Timing
from kptalk.evaluate.tracks import TrackRecorder
from kptalk.files import sha256
from kptalk.media.clip import probe

FRAMES_AHEAD = 8  # that may wait for the metrics
MUTE = Fraction(1, 10)  # seconds of pictures after the audio's end that are worth a note


@dataclass(frozen=True)
class Pair:
    """A video to be measured and the real one of the same name, which is its own pair.

    Attributes:
        generated, real: the files.
        seconds: of their beginning; None for all.
        timing: how long it took to make the generated one, where that is known.
        failure: why there is no generated one, where that is known.
    """

    generated: Path
    real: Path
    seconds: float | None = None
    timing: Timing | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Measured:
    """A pair's numbers, and what each metric's numbers of all clips need of it; or why there are none."""

    result: ClipResult | None = None
    parts: tuple[Any, ...] = ()
    error: str = ""


class Measurer:
    """A warm worker: it measures one pair after the other."""

    def __init__(self, open_metrics: Callable[[], Sequence[Metric]], apart: bool = True) -> None:
        """``apart`` says that the numbers of all clips together are computed elsewhere, of the parts."""
        self._metrics, self._apart = open_metrics(), apart

    def __call__(self, pair: Pair) -> Measured:
        """Measure a pair; one that cannot be measured is no exception."""
        try:
            if pair.failure is not None:
                raise InputError(pair.failure)
            result = measure(pair.generated, pair.real, self._metrics, pair.seconds, pair.timing)
        except InputError as error:
            return Measured(error=str(error))
        return Measured(result, tuple(metric.give() for metric in self._metrics if self._apart))


def measure(
    generated: Path, real: Path, metrics: Sequence[Metric], seconds: float | None, timing: Timing | None
) -> ClipResult:
    """Show one pair of videos to all metrics; the real video is its own pair."""
    if not generated.is_file():
        raise InputError(f"{generated} does not exist")
    about, truth = probe(generated), probe(real)
    notes = []
    if about.size != truth.size:
        notes.append("{}x{} pixels where the real video has {}x{}".format(*about.size, *truth.size))
    for metric in metrics:
        metric.reset()
    tracks = TrackRecorder()
    frames = faceless = 0
    with ExitStack() as reading:  # finding landmarks takes as long as the metrics do
        truly, shown = tee(reading.enter_context(closing(read_ahead(sample_frames(real, seconds), FRAMES_AHEAD))))
        if generated != real:
            shown = reading.enter_context(closing(read_ahead(sample_frames(generated, seconds), FRAMES_AHEAD)))
        for frame, real_frame in zip_longest(shown, truly):
            if frame is None or real_frame is None:
                longer = "shorter" if frame is None else "longer"
                notes.append(f"{longer} than the real video: the first {frames} frames were compared")
                break
            for metric in metrics:
                metric.update(frame, real_frame)
            tracks.update(frame)
            frames += 1
            faceless += frame.mesh is None
    own, real_audio = read_audio(generated, frames), read_audio(real, frames)
    if real_audio is None:
        raise InputError(f"no sample of the sound of {real} can be decoded")
    if own is None:
        notes.append("no sound: measured with the real video's")
    elif frames / FPS - Fraction(len(own), RATE) > MUTE:
        notes.append("the sound ends more than 0.1 s before the pictures")
    audio = AudioPair(real_audio if own is None else own, real_audio)
    values = {key: float(value) for metric in metrics for key, value in metric.compute(audio).items()}
    values |= timing.values() if timing else {}
    digest = sha256(generated, InputError)
    return ClipResult(real.name, digest, values, frames, faceless, tuple(notes), tracks.compute())
