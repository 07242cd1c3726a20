"""The library is a guest in its process: it changes no setting, prints nothing, and logs where it is asked to."""

import logging
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut
from speaking import speech

from kptalk.media.image import read_image

HELPER = Path(__file__).parent / "helpers/process_state.py"


@pytest.mark.slow
def test_nothing_of_the_process_is_changed(tmp_path):
    """Loading a model, and four videos in as many threads, which are all the same."""
    Image.fromarray(astronaut()).save(tmp_path / "face.png")
    run = subprocess.run([sys.executable, HELPER, tmp_path / "face.png"], capture_output=True, text=True, check=True)
    assert run.stdout == "1 video"


def test_photos_read_in_threads_leave_the_warnings_alone(portrait, tmp_path):
    Image.fromarray(portrait.image).save(tmp_path / "face.png")
    before, interval = list(warnings.filters), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(read_image, [tmp_path / "face.png"] * 100))
    finally:
        sys.setswitchinterval(interval)
    assert warnings.filters == before


def test_the_log_tells_the_stages(pipeline, portrait, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG, logger="kptalk"):
        pipeline.animate(portrait, speech(16_000)).save(tmp_path / "out.mp4")
    told = "\n".join(f"{record.name} {record.levelname}: {record.getMessage()}" for record in caplog.records)
    assert "kptalk.job INFO: portrait prepared in" in told
    assert "kptalk.job DEBUG: motion of 25 frames" in told
    assert "kptalk.job INFO: 25 frames in " in told
    assert f"kptalk.job INFO: {tmp_path / 'out.mp4'}: 25 frames written (portrait" in told


def test_nothing_is_printed_unless_asked_for(pipeline, portrait, tmp_path, capfd):
    assert [type(handler) for handler in logging.getLogger("kptalk").handlers] == [logging.NullHandler]
    assert logging.getLogger("kptalk").level == logging.NOTSET
    logging.getLogger("kptalk.job").warning("unheard")
    pipeline.animate(portrait, speech(8000)).save(tmp_path / "out.mp4")
    assert capfd.readouterr() == ("", "")
