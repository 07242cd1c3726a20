"""A text in the place of the recording, said by what the administrator has set up."""

import pytest
from serving import client_of, finished, no_search, photo, refused
from voices import PER_CHARACTER, program


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    with pytest.MonkeyPatch.context() as patch:
        no_search(patch)
        engine = f"{program(folder)} {{wav}} '{folder}/notes.json' {{voice}}"
        with client_of(folder / "served", tts=engine, voices=("anna", "ben")) as found:
            found.notes = folder / "notes.json"
            yield found


def send(client, **fields):
    return client.post("/v1/videos", files={"portrait": ("p", photo())}, data=fields)


@pytest.mark.parametrize(("wanted", "used"), [({}, "anna"), ({"voice": "ben"}, "ben")])
def test_a_text_becomes_a_video(client, wanted, used):
    answer = send(client, text="Grüße; `id`", **wanted)
    assert answer.status_code == 202, answer.text
    video = finished(client, answer.json()["id"])
    assert video["status"] == "completed"
    assert float(video["seconds"]) == pytest.approx(11 * PER_CHARACTER, abs=0.04)
    assert f'"{used}"' in client.notes.read_text()


def test_the_voices_are_told(client):
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["text"], model["voices"]) == (True, ["anna", "ben"])


def test_a_text_that_cannot_be_said(client):
    assert refused(send(client, text=" "), 422, "invalid_request", "no text")
    assert refused(send(client), 422, "invalid_request", "speech")
    assert refused(send(client, text="Hello", voice="--help"), 422, "invalid_request", "anna, ben")
    assert refused(send(client, voice="anna"), 422, "invalid_request", "text")
    assert refused(send(client, text="x" * 20_001), 422, "invalid_request", "text")


def test_a_voice_that_fails_says_nothing_of_itself(tmp_path):
    with client_of(tmp_path / "served", tts=program(tmp_path, "raise OSError('/etc/secret')")) as client:
        answer = send(client, text="Hello")
        assert refused(answer, 502, "no_voice", "the voice failed")
        assert "secret" not in answer.text


def test_without_a_voice(tmp_path):
    with client_of(tmp_path / "served") as client:
        assert refused(send(client, text="Hello"), 422, "no_voice", "no voice is set up")
