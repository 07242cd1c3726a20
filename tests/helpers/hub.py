"""A small Hugging Face hub on loopback: what hf_hub_download asks of it, with faults on demand."""

import hashlib
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from huggingface_hub import constants
from official_set import unpin

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves ``files`` (path in the address -> bytes) as repositories and as plain addresses.

    Attributes:
        url: where it listens.
        files: ``owner/name/resolve/revision/path``, or any other path, to content.
        requests: (method, path, Range header) of every request.
        cuts: how many of the next downloads end after ``cut_after`` of their bytes.
        digest: what it says a file's SHA-256 is; None: the truth.
        ranges: whether it serves parts of files.
    """

    def __init__(self, url):
        self.url = url
        self.files, self.requests = {}, []
        self.cuts, self.cut_after, self.digest, self.ranges = 0, 0.5, None, True

    def add(self, source, content):
        """Serve an entry's source."""
        self.files[f"{source.repository}/resolve/{source.revision}/{source.path}"] = content


def pull_from(hub, cache, monkeypatch):
    """Have kptalk pull made-up files from a hub, with a cache of its own, and without pauses."""
    unpin(monkeypatch)
    monkeypatch.setattr("time.sleep", lambda _: None)  # huggingface_hub waits a second before it resumes
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"  # made of the endpoint at import
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)  # what came before a cut counts in these


@contextmanager
def serving():
    """A hub in a thread of its own."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            path = self.path.lstrip("/")
            hub.requests.append((self.command, path, self.headers.get("Range")))
            if path not in hub.files:
                return self.refuse(path)
            content = hub.files[path]
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(asked[1]) if asked and hub.ranges else 0
            if start and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206 if start else 200)
            digest = hub.digest or hashlib.sha256(content).hexdigest()
            for name, value in {
                "Content-Length": len(content) - start,
                "ETag": f'"{digest}"',
                "X-Repo-Commit": (re.findall(r"/resolve/([0-9a-f]{40})/", path) or [COMMIT])[0],
                "X-Linked-Etag": f'"{digest}"',
                "X-Linked-Size": len(content),
                **({"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}),
            }.items():
                self.send_header(name, str(value))
            self.end_headers()
            if body:
                rest = content[start:]
                if hub.cuts:
                    hub.cuts -= 1
                    rest = rest[: int(len(rest) * hub.cut_after)]
                    self.close_connection = True
                self.wfile.write(rest)

        def refuse(self, path):
            repository = any(name.startswith("/".join(path.split("/")[:2])) for name in hub.files)
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if repository else "RepoNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
