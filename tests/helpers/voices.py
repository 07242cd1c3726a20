"""Text-to-speech engines for tests: a program and a server that say every text as a tone."""

import json
import sys
import threading
import wave
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np

RATE = 22_050
PER_CHARACTER = 0.05  # seconds
# Says standard input to the file named first, or to standard output; notes its words in the file named second.
PROGRAM = f"""
import io, json, math, struct, sys, wave
text = sys.stdin.buffer.read().decode("utf-8")
n = int({RATE} * {PER_CHARACTER} * len(text))
samples = [int(9000 * math.sin(k / 25) * (1 + math.sin(k / 900))) for k in range(n)]
out = io.BytesIO()
with wave.open(out, "wb") as file:
    file.setnchannels(1); file.setsampwidth(2); file.setframerate({RATE})
    file.writeframes(struct.pack(f"<{{n}}h", *samples))
target = sys.argv[1]
(open(target, "wb") if target != "-" else sys.stdout.buffer).write(out.getvalue())
if len(sys.argv) > 2:
    json.dump([text, *sys.argv[1:]], open(sys.argv[2], "w"))
"""


def program(folder: Path, source: str = PROGRAM) -> str:
    """The beginning of a command that runs a Python program; the words after it are the program's."""
    path = folder / "voice program.py"
    path.write_text(source)
    return f"'{sys.executable}' '{path}'"


def sound(text: str) -> bytes:
    """A WAV file as long as the text."""
    n = int(RATE * PER_CHARACTER * len(text))
    t = np.arange(n)
    samples = (9000 * np.sin(t / 25) * (1 + np.sin(t / 900))).astype("<i2")
    content = BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return content.getvalue()


@contextmanager
def voice_server(status: int = 200, body: bytes | None = None):
    """OpenAI's /v1/audio/speech on loopback: yields its address and the list of (headers, JSON) it was asked."""
    asked = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.headers, wanted))
            content = sound(wanted["input"]) if body is None else body
            self.send_response(status if self.path == "/v1/audio/speech" else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/audio/speech", asked
    finally:
        server.shutdown()
        server.server_close()
