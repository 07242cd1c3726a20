"""``kptalk serve``: what it refuses, and which settings its flags become."""

import socket
import sys

import pytest
import uvicorn
from commands import refused

from kptalk.cli.serve import parse_time
from kptalk.errors import OptionError
from kptalk.files import lock_file


@pytest.fixture
def served(monkeypatch, kptalk, tmp_path):
    """Runs the program without serving; gives the settings and what was printed."""

    def run(*argv):
        started = []
        monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: started.extend([self.config, *sockets]))
        code, out, err = kptalk("serve", "--folder", tmp_path / "folder", "--port", "0", *argv)
        assert (code, err) == (0, "")
        config, listening = started
        port = listening.getsockname()[1]
        listening.close()
        assert out.endswith(f":{port}\n")
        return config.app.user_middleware[0].kwargs["settings"], out

    return run


def test_by_default_it_is_for_this_machine_alone(served, tmp_path):
    settings, out = served()
    assert out.startswith("kptalk is at http://127.0.0.1:")
    assert settings.hosts == ("127.0.0.1", "localhost", "[::1]")
    assert (settings.keys, settings.keep, settings.folder) == ((), 86400, tmp_path / "folder")


def test_flags_are_limits(served):
    settings, _ = served(
        *("--keep", "90m", "--portrait-mb", 1, "--speech-mb", 2, "--speech-seconds", 30, "--max-size", 512),
        *("--waiting", 3, "--waiting-per-key", 1, "--streams", 2, "--viewers", 5, "--job-minutes", 0.5, "--free-mb", 7),
    )
    assert (settings.keep, settings.portrait_bytes, settings.speech_bytes) == (5400, 1 << 20, 2 << 20)
    assert (settings.body_bytes, settings.speech_seconds, settings.size) == (4 << 20, 30, 512)
    assert (settings.waiting, settings.waiting_per_key, settings.streams, settings.viewers) == (3, 1, 2, 5)
    assert (settings.job_seconds, settings.free_bytes) == (30, 7 << 20)


def test_other_addresses_need_a_key_or_a_word(served, kptalk, monkeypatch, tmp_path):
    monkeypatch.delenv("KPTALK_API_KEY", raising=False)
    assert refused(kptalk("serve", "--host", "0.0.0.0", "--folder", tmp_path), "KPTALK_API_KEY", "--no-auth")
    settings, _ = served("--host", "0.0.0.0", "--no-auth")
    assert (settings.keys, settings.hosts) == ((), ("*",))
    monkeypatch.setenv("KPTALK_API_KEY", "one, two\nthree")
    settings, _ = served("--host", "0.0.0.0", "--name", "talk.example")
    assert settings.keys == ("one", "two", "three")
    assert settings.hosts == ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "talk.example")


def test_a_port_in_use_and_a_folder_in_use_are_refused(kptalk, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused(kptalk("serve", "--port", port, "--folder", tmp_path), f"port {port}", "in use")
    assert refused(kptalk("serve", "--port", 99999, "--folder", tmp_path), "--port is 99999")
    assert refused(kptalk("serve", "--host", "192.0.2.1", "--no-auth", "--folder", tmp_path), "cannot listen")
    with lock_file(tmp_path / "server.lock"):
        assert refused(kptalk("serve", "--port", 0, "--folder", tmp_path), "another server is at work in", "folder")


@pytest.mark.parametrize("flag", ["--waiting", "--streams", "--speech-seconds", "--portrait-mb", "--job-minutes"])
def test_a_limit_that_lets_nothing_through_is_refused(kptalk, tmp_path, flag):
    assert refused(kptalk("serve", "--folder", tmp_path, flag, 0), f"{flag} is 0", "more than 0")


def test_a_cluster_is_for_the_engine_ray(kptalk, tmp_path):
    assert refused(kptalk("serve", "--folder", tmp_path, "--jobs", 2), "belong to --engine ray")
    assert refused(kptalk("serve", "--folder", tmp_path, "--engine", "slurm"), "--engine is 'slurm'")
    assert refused(kptalk("serve", "--folder", tmp_path, "--engine", "ray", "--jobs", 0), "--jobs is 0")


def test_what_is_missing_is_named(kptalk, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert refused(kptalk("serve", "--folder", tmp_path), "pip install 'kptalk[serve]'", code=1)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86400), ("1.5d", 129600)])
def test_times(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1e9h", "0s", "1 week", "99999999999d"])
def test_wrong_times(text):
    with pytest.raises(OptionError, match="keep is"):
        parse_time(text)
