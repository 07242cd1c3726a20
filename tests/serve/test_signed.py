"""What the server signs."""

from serving import finished, recording, send

from kptalk.provenance.certificates import make_certificates
from kptalk.provenance.verify import verify


def test_finished_videos_are_signed_and_marked(serve, tmp_path):
    root, chain, key = make_certificates(tmp_path / "keys", "The server")
    speech = recording(tmp_path)
    with serve(sign_cert=chain, sign_key=key) as client:
        video = finished(client, send(client, speech).json()["id"])
        assert video["status"] == "completed", video
        content = client.get(f"/v1/videos/{video['id']}/content").content
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    found = verify(path, trust=root)
    assert (found.state, found.signer, found.trusted) == ("valid", "The server", True)
    assert set(found.claims["inputs"]) == {"portrait", "speech"}
