"""Makes speech.mp3 anew; needs the espeak-ng executable, which nothing else here does.

apt-get install espeak-ng && python examples/make_speech.py
"""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import av

TEXT = (
    "One photo and one recording: that is all it takes. "
    "This face speaks with my voice, on an ordinary computer, without a network."
)
RATE = 22050

with TemporaryDirectory() as folder:
    wave = Path(folder) / "speech.wav"
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "160", "-p", "42", "-a", "140", "-w", wave, TEXT], check=True)
    target = Path(__file__).with_name("speech.mp3")
    with av.open(str(wave)) as source, av.open(str(target), "w", options={"fflags": "+bitexact"}) as result:
        stream = result.add_stream("libmp3lame", rate=RATE, layout="mono")
        stream.bit_rate = 64_000
        resampler = av.AudioResampler("s16p", "mono", RATE)
        for decoded in source.decode(audio=0):
            for frame in resampler.resample(decoded):
                result.mux(stream.encode(frame))
        result.mux(stream.encode(None))
