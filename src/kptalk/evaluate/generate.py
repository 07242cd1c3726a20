"""Videos by the papers' protocol: each clip's first frame as portrait, its own sound, its first 8 seconds."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kptalk.errors import AudioError, InputError, OptionError
from kptalk.evaluate.clips import VideoFolder
from kptalk.evaluate.made import MadeVideos
from kptalk.evaluate.metric import FPS, RATE
from kptalk.evaluate.sampling import read_audio
from kptalk.evaluate.speed import Timing, read_timings, write_timings
from kptalk.files import make_folder
from kptalk.job import Progress
from kptalk.media.audio import Speech
from kptalk.media.clip import probe, read_frames
from kptalk.options import Options
from kptalk.pipeline import Pipeline

PROTOCOL_SECONDS = 8.0


def generate_videos(
    pipeline: Pipeline,
    clips: Sequence[Path],
    folder: Path,
    *,
    name: str,
    options: Options | None = None,
    seconds: float | None = PROTOCOL_SECONDS,
    cache_key: str | None = None,
    on_progress: Progress | None = None,
) -> VideoFolder:
    """Animate every clip's first frame with the clip's own sound, and measure how long that takes.

    A clip from which no video can be made, for example without a face in its first frame, is named in
    ``VideoFolder.failures`` and does not stop the others.

    Args:
        pipeline: the models.
        clips: real videos with sound.
        folder: where the videos go, under the clips' names, with ``timing.json``. What is there is replaced, but for
            what an earlier call with the same cache key has made of the same clips.
        name: of the method, for the report.
        options: how videos are made; the frame rate is always 25, and nothing is hidden in the picture.
        seconds: of every clip; None for all.
        cache_key: a text that changes with model, options and seconds; None to keep nothing.
        on_progress: called after every clip.

    Raises:
        OptionError: the clips themselves are in the folder.
        OutputError: the folder cannot be made or written to.
    """
    make_folder(folder)
    if any(clip.parent.samefile(folder) for clip in clips):
        raise OptionError(f"the videos to generate would replace the real ones in {folder}: give another folder")
    options = replace(options or Options(), fps=FPS, watermark=False)  # what is measured is the method's own picture
    made = MadeVideos(folder, cache_key) if cache_key is not None else None
    known = read_timings(folder) if made else {}
    timings = {clip.name: known[clip.name] for clip in clips if made and clip.name in known and made.has(clip)}
    failures: dict[str, str] = {}
    write_timings(folder, timings)
    for number, clip in enumerate(clips):
        try:
            if clip.name not in timings:
                timings[clip.name] = _generate(pipeline, clip, folder / clip.name, options, seconds)
                write_timings(folder, timings)
                if made:
                    made.add(clip)
        except InputError as error:
            failures[clip.name] = str(error)
        if on_progress:
            on_progress("generating", number + 1, len(clips))
    return VideoFolder(name, folder, failures)


def _generate(pipeline: Pipeline, clip: Path, path: Path, options: Options, seconds: float | None) -> Timing:
    begun = time.perf_counter()
    first_done: dict[str, float] = {}  # after how many seconds each stage had its first frame
    done_frames: dict[str, int] = {}

    def note_progress(stage: str, done: int, total: int | None) -> None:
        first_done.setdefault(stage, time.perf_counter() - begun)
        done_frames[stage] = done

    portrait = next(read_frames(clip, FPS))
    # Sound codecs pad: what a file's sound has more than its pictures is not part of the clip.
    lengths = [float(length) for length in (seconds, probe(clip).duration) if length is not None]
    if lengths:
        frames = max(round(min(lengths) * FPS), 1)
        audio = read_audio(clip, frames)
        if audio is None or not len(audio):
            raise AudioError(f"{clip} has no sound in its first {frames / FPS:.2f} s")
        speech = Speech.from_samples(audio, RATE)
    else:
        speech = Speech.open(clip)
    opened = time.perf_counter() - begun
    animation = pipeline.animate(portrait, speech, options=options)
    # A file of another container than ours keeps its name, so that the pairs of videos are found by it.
    mp4 = path if path.suffix == ".mp4" else path.with_name(f"{path.name}.mp4")
    animation.save(mp4, overwrite=True, on_progress=note_progress).replace(path)
    frames, stages = done_frames["encoding"], {"decoding": opened, **animation.seconds}
    taken = time.perf_counter() - begun
    return Timing(frames, float(frames / FPS), taken, first_done["drawing"], _peak_memory(), stages)


def _peak_memory() -> float:
    """Most memory that this process has held so far, in MB; NaN where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
