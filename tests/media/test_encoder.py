"""What VideoWriter leaves behind: after success, after errors, after a kill."""

import io
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import read_sound, tone

from kptalk.errors import OptionError, OutputError
from kptalk.media.audio import Speech
from kptalk.media.clip import probe, read_frames
from kptalk.media.encoder import VideoWriter
from kptalk.media.sink import FRAGMENTED, FileSink

RATES = [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60)]


def shade(k: int, height: int = 48, width: int = 64) -> np.ndarray:
    """(1, H, W, 3): frame k, which its brightness tells from its neighbours."""
    return np.full((1, height, width, 3), 20 + 20 * (k % 11), np.uint8)


SPEECH = Speech.from_samples(tone(16000, 5.0)[0], 16000)


def write(path: Path, count: int, fps: Fraction = Fraction(25), speech: Speech | None = None, **options) -> Path:
    sink = FileSink(path, options.pop("overwrite", False))
    with VideoWriter(sink, fps, (64, 48), speech, **options) as writer:
        for k in range(count):
            writer.write(shade(k))
    return path


def interrupt(writer: VideoWriter, count: int, reason: type[BaseException] = RuntimeError) -> None:
    with writer:
        for k in range(count):
            writer.write(shade(k))
        raise reason


def durations(path: Path) -> dict[str, Fraction]:
    with av.open(f"file:{path}") as container:
        return {stream.type: stream.duration * stream.time_base for stream in container.streams}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 1), (44100, 2), (48000, 6)])
def test_picture_and_sound_are_equally_long(tmp_path, fps, rate, channels):
    count = 37
    speech = Speech.from_samples(tone(rate, 5.0, channels).T, rate)
    path = write(tmp_path / "a.mp4", count, fps, speech)
    assert names(tmp_path) == ["a.mp4"]
    lengths = durations(path)
    assert lengths["video"] == count / fps
    assert abs(lengths["audio"] - lengths["video"]) < 1 / fps / 10
    clip = probe(path)
    assert (clip.fps, clip.size, clip.has_audio) == (fps, (64, 48), True)
    assert abs(clip.duration - count / fps) < 1 / fps
    assert len(list(read_frames(path))) == count
    samples, kept, layout = read_sound(path)
    assert (kept, layout) == (rate, {1: "mono", 2: "stereo", 6: "stereo"}[channels])
    wanted = round(count * rate / fps)
    assert 0 <= samples.shape[1] - wanted < 1024  # decoders hand out the last AAC frame whole


def test_sound_is_in_its_place_and_unchanged(tmp_path):
    rate = 16000
    samples = tone(rate, 2.0)[0]
    samples[:5000] = 0
    path = write(tmp_path / "a.mp4", 50, speech=Speech.from_samples(samples, rate))
    heard = read_sound(path)[0][0]
    np.testing.assert_allclose(heard[:32000], samples, atol=0.05)


def test_speech_that_ends_early_is_followed_by_silence(tmp_path):
    path = write(tmp_path / "a.mp4", 50, speech=Speech.from_samples(tone(44100, 0.7)[0], 44100))
    heard = read_sound(path)[0][0]
    assert np.abs(heard[: 44100 // 2]).max() > 0.4
    assert np.abs(heard[44100:]).max() < 1e-3
    assert abs(durations(path)["audio"] - 2) < Fraction(1, 100)


def test_no_speech_no_sound(tmp_path):
    assert not probe(write(tmp_path / "a.mp4", 3)).has_audio


def test_frames_come_back_in_order_and_in_their_colours(tmp_path):
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 150, 120)], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (6, 64, 64, 3)).copy()
    with VideoWriter(FileSink(tmp_path / "a.mp4"), Fraction(25), (64, 64)) as writer:
        writer.write(frames[:4])
        writer.write(frames[4:])
    back = np.stack(list(read_frames(tmp_path / "a.mp4")))
    assert np.abs(back.astype(int) - frames).mean((1, 2, 3)).max() < 4
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == 1  # BT.709, said in the file


@settings(max_examples=15, deadline=None)
@given(width=st.integers(1, 70), height=st.integers(1, 70))
def test_any_size(tmp_path_factory, width, height):
    path = tmp_path_factory.mktemp("size") / "a.mp4"
    with VideoWriter(FileSink(path), Fraction(25), (width, height)) as writer:
        writer.write(np.full((2, height, width, 3), 90, np.uint8))
    assert probe(path).size == (width + width % 2, height + height % 2)


@pytest.mark.parametrize(
    "metadata",
    [
        {"title": "Ü 🙂", "comment": "seed=1; weights=embedded\nsecond line", "description": "made by kptalk"},
        {"comment": "x" * 5000, "software": "kptalk 1.0", "seed": "7"},
    ],
)
def test_metadata_survives(tmp_path, metadata):
    path = write(tmp_path / "a.mp4", 3, metadata=metadata)
    with av.open(str(path)) as container:
        assert metadata.items() <= container.metadata.items()


def test_equal_inputs_give_equal_bytes(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), np.uint8)
    speech = Speech.from_samples(tone(44100, 2.0, 2).T, 44100)
    contents, packets = [], []
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(FileSink(tmp_path / name), Fraction(25), (64, 48), speech, {"comment": "c"}) as writer:
            writer.write(noise)
        contents.append((tmp_path / name).read_bytes())
        with av.open(str(tmp_path / name)) as container:
            packets.append([(p.stream.type, p.pts, p.dts, bytes(p)) for p in container.demux()])
        time.sleep(1.1 if name == "a.mp4" else 0)  # a time stamp would have seconds
    assert packets[0] == packets[1]  # said apart, since it tells the encoders from the container
    assert contents[0] == contents[1]


def test_names_with_spaces_accents_and_colons(tmp_path, monkeypatch):
    write(tmp_path / "Mein Vidéo 🙂 a:b %d.mp4", 3)
    assert names(tmp_path) == ["Mein Vidéo 🙂 a:b %d.mp4"]
    monkeypatch.chdir(tmp_path)
    write(Path("relative.MP4"), 3)
    assert (tmp_path / "relative.MP4").is_file()


def test_header_comes_first_so_that_browsers_start_at_once(tmp_path):
    data = write(tmp_path / "a.mp4", 30).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert b"moof" not in data


def test_exception_leaves_a_playable_partial_file(tmp_path):
    writer = VideoWriter(FileSink(tmp_path / "a.mp4"), Fraction(25), (64, 48), SPEECH)
    partial = tmp_path / ".a.partial.mp4"
    with pytest.raises(KeyboardInterrupt):
        interrupt(writer, 33, KeyboardInterrupt)
    assert names(tmp_path) == [".a.partial.mp4"]
    assert len(list(read_frames(partial))) == 33
    assert read_sound(partial)[0].shape[1] >= 33 * 640
    write(tmp_path / "a.mp4", 3)  # a later run takes its place
    assert names(tmp_path) == ["a.mp4"]


def test_no_frames_leave_nothing(tmp_path):
    with pytest.raises(OutputError, match="no frames"):
        write(tmp_path / "a.mp4", 0)
    with pytest.raises(RuntimeError):
        interrupt(VideoWriter(FileSink(tmp_path / "a.mp4"), Fraction(25), (64, 48)), 0)
    assert names(tmp_path) == []


def test_overwriting_needs_permission_and_keeps_the_old_file_until_the_end(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already"):
        write(path, 3)
    with pytest.raises(RuntimeError):
        interrupt(VideoWriter(FileSink(path, overwrite=True), Fraction(25), (64, 48)), 1)
    assert path.read_bytes() == b"old"
    write(path, 3, overwrite=True)
    assert len(list(read_frames(path))) == 3


def test_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "a.mp4"
    writer = VideoWriter(FileSink(path), Fraction(25), (64, 48))
    writer.write(shade(0))
    path.write_bytes(b"other")
    with pytest.raises(OutputError, match="partial"):
        writer.__exit__(None, None, None)
    assert path.read_bytes() == b"other"
    assert len(list(read_frames(tmp_path / ".a.partial.mp4"))) == 1


def test_any_sink_takes_the_video():
    class Memory:
        name, low_delay, partial, events = "stream", False, None, ()

        def open(self, metadata):
            self.bytes, self.events = io.BytesIO(), (*self.events, "open")
            return av.open(self.bytes, "w", format="mp4", options={"movflags": FRAGMENTED})

        def finish(self, frames):
            self.events = (*self.events, "finish", frames)

        def release(self):
            self.events = (*self.events, "release")

        def discard(self):
            self.events = (*self.events, "discard")

    sink = Memory()
    with VideoWriter(sink, Fraction(25), (64, 48), SPEECH) as writer:
        assert sink.events == ()
        for k in range(60):
            writer.write(shade(k))
        assert len(sink.bytes.getvalue()) > 1000  # fragments leave before the end
    assert sink.events == ("open", "finish", 60, "release")
    with av.open(io.BytesIO(sink.bytes.getvalue())) as container:
        assert sum(1 for _ in container.decode(video=0)) == 60


@pytest.mark.parametrize(("fps", "size"), [(Fraction(0), (64, 48)), (Fraction(-25), (64, 48)), (Fraction(25), (0, 48))])
def test_impossible_video(tmp_path, fps, size):
    with pytest.raises(OptionError):
        VideoWriter(FileSink(tmp_path / "a.mp4"), fps, size)


def test_frames_of_another_shape(tmp_path):
    with (
        pytest.raises(ValueError, match="expected uint8"),
        VideoWriter(FileSink(tmp_path / "a.mp4"), Fraction(25), (64, 48)) as w,
    ):
        w.write(np.zeros((1, 64, 48, 3), np.uint8))
    assert names(tmp_path) == []


def test_interruption_while_another_thread_writes(tmp_path):
    sink, speech = FileSink(tmp_path / "a.mp4"), Speech.from_samples(tone(16000, 90)[0], 16000)
    writer = VideoWriter(sink, Fraction(25), (64, 48), speech)
    with ThreadPoolExecutor(1) as thread:
        with writer:
            pending = thread.submit(writer.write, np.concatenate([shade(k) for k in range(2000)]))
            while not sink.partial.exists():
                time.sleep(0.001)
        with pytest.raises(ValueError, match="finished"):
            pending.result()
    assert names(tmp_path) == ["a.mp4"]
    assert 0 < len(list(read_frames(tmp_path / "a.mp4"))) < 2000


WRITER = """
    import sys
    from fractions import Fraction
    import numpy as np
    from kptalk.media.audio import Speech
    from kptalk.media.encoder import VideoWriter
    from kptalk.media.sink import FileSink
    print("imported", file=sys.stderr)
    rng = np.random.default_rng(0)
    speech = Speech.from_samples(0.1 * rng.standard_normal((16000 * 100, 2)), 16000)
    with VideoWriter(FileSink(sys.argv[1]), Fraction(25), (128, 128), speech, {"comment": "kept"}) as writer:
        for k in range(int(sys.argv[2])):
            writer.write(rng.integers(0, 256, (1, 128, 128, 3), np.uint8))
            print(k, flush=True)
"""


def start(path: Path, count: int, before: object = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(WRITER), str(path), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before)


def test_killed_process_leaves_a_playable_prefix_with_sound(tmp_path):
    with start(tmp_path / "a.mp4", 2000) as process:
        for line in process.stdout:
            if int(line) == 150:
                process.send_signal(signal.SIGKILL)
                break
    assert names(tmp_path) == [".a.partial.mp4"]
    partial = tmp_path / ".a.partial.mp4"
    count = len(list(read_frames(partial)))
    assert count >= 150 - 50  # at most one fragment and what the encoder held
    assert read_sound(partial)[0].shape[1] > 0.9 * count * 640
    assert probe(partial).fps == 25


def test_full_disk_is_one_line_that_names_the_partial_file(tmp_path):
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    with start(tmp_path / "a.mp4", 400, limit) as process:
        _, stderr = process.communicate()
    assert process.returncode == 1
    assert stderr.splitlines()[-1].startswith("kptalk.errors.OutputError: cannot write")
    assert str(tmp_path / ".a.partial.mp4") in stderr.splitlines()[-1]
    assert names(tmp_path) == [".a.partial.mp4"]
    assert len(list(read_frames(tmp_path / ".a.partial.mp4"))) > 5


def test_nothing_is_printed(tmp_path):
    with start(tmp_path / "a.mp4", 5) as process:
        _, stderr = process.communicate()
    assert process.returncode == 0
    assert stderr.endswith("imported\n")


def test_no_handles_stay_open(tmp_path):
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to count open files")
    speech = Speech.from_samples(tone(16000, 1)[0], 16000)
    write(tmp_path / "a.mp4", 3, speech=speech)
    before = len(os.listdir("/proc/self/fd"))
    spoken = Speech.open(tmp_path / "a.mp4")
    next(spoken.chunks(0.01))
    next(read_frames(tmp_path / "a.mp4"))
    write(tmp_path / "b.mp4", 3, speech=spoken)
    with pytest.raises(RuntimeError):
        interrupt(VideoWriter(FileSink(tmp_path / "c.mp4"), Fraction(25), (64, 48), spoken), 1)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path):
    speech = Speech.from_samples(np.zeros(8000 * 60, np.float32), 8000)

    def peak(count: int) -> int:
        tracemalloc.start()
        write(tmp_path / "a.mp4", count, speech=speech, overwrite=True)
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    peak(50)
    assert peak(1000) < peak(100) + 100_000
