"""The page in a real browser, headless Chromium: photo and voice in, playing picture out, for everybody."""

import shutil
import socket
import threading
import time
from contextlib import contextmanager
from functools import partial

import pytest
import uvicorn
from recordings import tone, write_sound
from serving import WorkerThread, load_live, no_search, photo
from visiting import Visitor
from voices import program

from kptalk.errors import FaceNotFound
from kptalk.face import portraits
from kptalk.serve import render, worker
from kptalk.serve.app import create_app
from kptalk.serve.live_sessions import LiveSessions
from kptalk.serve.settings import Settings

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install 'kptalk[test]'")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

PROGRAMS = {
    "chromium": shutil.which("chromium") or shutil.which("google-chrome"),
    "chromedriver": shutil.which("chromedriver"),
}
MISSING = [name for name, path in PROGRAMS.items() if path is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"no {' and no '.join(MISSING)} here: apt-get install chromium chromium-driver"
)
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
)
TAB = {"windowsVirtualKeyCode": 9}
KEY = "a-key-of-a-test"
SIDES = {128: 1, 130: 2}  # of photos, and how many faces are in them; none in others


def find(request, path, portraits):
    """What is in a photo of the tests, by its size."""
    side = render.read_image(path.read_bytes()).shape[0]
    if side not in SIDES:
        raise FaceNotFound("no human face found in the picture: use a photo of a person")
    boxes = [[10.0 + 60 * k, 20.0, 60.0 + 60 * k, 90.0] for k in range(SIDES[side])]
    faces = [{"number": k, "box": box} for k, box in enumerate(boxes, 1)]
    return {"width": side, "height": side, "turned": 0, "face": 1, "faces": faces, "warnings": []}


@contextmanager
def running(folder, **changes):
    """A server at a free port; gives its address and the application."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # who comes early waits
        settings = Settings(folder, free_bytes=0, **changes)
        app = create_app(settings, WorkerThread, partial(LiveSessions, load=load_live))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/", app
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Photos with no face, one and two, and recordings."""
    folder = tmp_path_factory.mktemp("files")
    for name, side in (("one", 128), ("two", 130), ("none", 90)):
        (folder / f"{name}.png").write_bytes(photo(side))
    write_sound(folder / "short.wav", tone(16_000, 1.5), 16_000)
    write_sound(folder / "long.wav", tone(16_000, 30), 16_000)
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        no_search(patch)
        found = portraits.find_portrait
        for place in (render, portraits):
            patch.setattr(place, "find_portrait", lambda image, *rest: found(image[:128, :128], *rest))
        patch.setattr(worker, "find", find)
        with running(folder, tts=f"{program(folder)} {{wav}} /dev/null {{voice}}", voices=("anna", "ben")) as server:
            yield server


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = PROGRAMS["chromium"]
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(PROGRAMS["chromedriver"]))
    yield driver
    driver.quit()


@pytest.fixture
def visitor(browser, served):
    return Visitor(browser, served[0])


def test_a_photo_speaks(visitor, files):
    visitor.give(files / "one.png", files / "short.wav", consent=False)
    assert visitor.text("#photo-note") == "Face found."
    visitor.click("#make")
    assert "agreed" in visitor.text("#make-note")
    assert visitor.script("return document.activeElement.id") == "consent"
    visitor.click("#consent")
    visitor.click("#make")
    assert visitor.played() == pytest.approx(1.5, abs=0.1)
    marks = visitor.script("return [kptalk.marks.frame > kptalk.marks.sent, kptalk.marks.pace.stalls]")
    assert marks == [True, 0]
    job = visitor.script("return kptalk.job")
    assert (job["status"], job["options"]) == ("completed", {"framing": "crop"})
    link = visitor.find("#download")
    assert link.get_attribute("href").endswith(f"/v1/videos/{job['id']}/content")
    size = "return fetch(arguments[0]).then(answer => answer.blob()).then(blob => blob.size)"
    assert visitor.script(size, link.get_attribute("href")) > 10_000
    assert visitor.find("#synthetic").is_displayed()
    visitor.wait(lambda: visitor.find(f"#videos li[data-id={job['id']}] img").get_attribute("naturalWidth") != "0")
    assert visitor.problems() == []


def test_one_of_two_faces_speaks_with_options(visitor, files, served):
    visitor.give(files / "two.png", files / "short.wav")
    assert visitor.text("#photo-note") == "2 faces found: choose the one that speaks."
    faces = visitor.browser.find_elements(By.CSS_SELECTOR, "#faces button")
    assert [face.get_attribute("aria-pressed") for face in faces] == ["true", "false"]
    faces[1].send_keys(Keys.ENTER)
    assert [face.get_attribute("aria-label") for face in faces] == ["Face 1 of 2", "Face 2 of 2"]
    set_value = "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
    set_value += "field.dispatchEvent(new Event('input', {bubbles: true}))"
    for name, value in (("framing", "full"), ("mouth_scale", "1.3"), ("seed", "7"), ("pose", "still")):
        visitor.script(set_value, name, value)
    assert visitor.find("output[for=mouth_scale]").get_attribute("textContent") == "1.3"
    visitor.click("#make")
    visitor.played()
    job = served[1].state.server.store.get(visitor.script("return kptalk.job.id"))
    assert job.face == 2
    assert job.options == {"seed": 7, "pose": "still", "mouth_scale": 1.3}


def test_a_photo_without_a_face(visitor, files):
    visitor.give(files / "none.png", files / "short.wav")
    assert visitor.text("#photo-note") == "No human face found in the picture: use a photo of a person."
    assert "bad" in visitor.find("#photo-note").get_attribute("class")
    visitor.click("#make")
    assert "photo" in visitor.text("#make-note")
    assert visitor.script("return document.activeElement.id") == "photo-file"


def test_cancel(visitor, files, served):
    store = served[1].state.server.store
    visitor.give(files / "one.png", files / "long.wav")
    served[1].state.server.workers.paused = True
    try:
        visitor.click("#make")
        visitor.wait(lambda: visitor.text("#status") == "Waiting for its turn.")
        visitor.click("#cancel")
        visitor.wait(lambda: visitor.text("#status") == "Cancelled.")
    finally:
        served[1].state.server.workers.paused = False
    job = store.get(visitor.script("return kptalk.job.id"))
    assert job.status == "cancelled"
    assert not visitor.find("#cancel").is_displayed()


def test_a_text(visitor, files, served):
    visitor.choose("text")
    voices = [each.get_attribute("value") for each in visitor.browser.find_elements(By.CSS_SELECTOR, "#voice option")]
    assert voices == ["anna", "ben"]
    visitor.give(files / "one.png")
    visitor.click("#make")
    assert visitor.text("#make-note") == "Write what the photo says."
    visitor.find("#text").send_keys("Good morning, everybody.")
    visitor.click("#make")
    assert visitor.played() == pytest.approx(24 * 0.05, abs=0.1)


def test_a_recording_of_the_microphone(visitor, files):
    visitor.choose("record")
    visitor.give(files / "one.png")
    visitor.click("#record")
    visitor.wait(lambda: visitor.find("#record").get_attribute("aria-pressed") == "true")
    time.sleep(1.2)
    visitor.click("#record")
    visitor.wait(lambda: visitor.find("#record-player").is_displayed())
    visitor.click("#make")
    assert visitor.played() == pytest.approx(1.2, abs=0.7)


def test_a_photo_of_the_camera(visitor):
    visitor.click("#camera-on")
    visitor.wait(lambda: visitor.script("return document.getElementById('viewfinder').videoWidth > 0"))
    visitor.click("#shoot")
    visitor.wait(lambda: "No human face" in visitor.text("#photo-note"))
    assert visitor.find("#photo").is_displayed()
    assert not visitor.find("#camera").is_displayed()


def test_a_voice_live(visitor, files):
    visitor.choose("live")
    assert visitor.text("#make") == "Start speaking"
    visitor.give(files / "one.png")
    visitor.click("#make")
    visitor.wait(lambda: visitor.text("#status") == "Speak.", 30)
    visitor.wait(lambda: visitor.script("return kptalk.live.sent > 1.5 && video.currentTime > 1"))
    assert 0.3 < visitor.script("return kptalk.live.delay") < 5
    assert visitor.script("return [video.muted, kptalk.live.video.readyState > 1]") == [True, True]
    visitor.click("#stop")
    visitor.wait(lambda: visitor.text("#status") == "Done.")
    sent, lead = visitor.script("return [kptalk.live.sent, kptalk.live.lead]")
    assert visitor.script("return video.duration") == pytest.approx(sent + lead, abs=0.2)
    assert visitor.find("#download").get_attribute("download") == "live.mp4"
    assert visitor.problems() == []


SLOW_AT_THE_END = """
    const append = SourceBuffer.prototype.appendBuffer;
    SourceBuffer.prototype.appendBuffer = function (data) {
      setTimeout(() => append.call(this, data), kptalk.live?.speaking ? 0 : 150);
    };"""


def test_a_live_video_is_whole_where_the_browser_is_slow(browser, served, files):
    visitor = Visitor(browser, served[0], SLOW_AT_THE_END)
    visitor.choose("live")
    visitor.give(files / "one.png")
    visitor.click("#make")
    visitor.wait(lambda: visitor.text("#status") == "Speak.", 30)
    visitor.wait(lambda: visitor.script("return kptalk.live.sent > 0.5"))
    visitor.click("#stop")
    visitor.wait(lambda: visitor.text("#status") == "Done.")


OTHER_BROWSERS = {
    "an iPhone": "self.ManagedMediaSource = self.MediaSource; delete self.MediaSource;",
    "one that cannot stream": "delete self.MediaSource;",
    "little memory": """
        const append = SourceBuffer.prototype.appendBuffer;
        let calls = 0;
        SourceBuffer.prototype.appendBuffer = function (data) {
          if (++calls === 3) throw new DOMException('full', 'QuotaExceededError');
          return append.call(this, data);
        };""",
}


@pytest.mark.parametrize("kind", OTHER_BROWSERS)
def test_other_browsers(browser, served, files, kind):
    visitor = Visitor(browser, served[0], OTHER_BROWSERS[kind])
    visitor.give(files / "one.png", files / "short.wav")
    visitor.click("#make")
    assert visitor.played() == pytest.approx(1.5, abs=0.1)


def test_history(visitor, files):
    visitor.wait(lambda: visitor.find("#history").is_displayed())
    first = visitor.find("#videos li:has(img)")
    video = first.get_attribute("data-id")
    first.find_element(By.XPATH, ".//button[text()='Play']").click()
    visitor.played()
    assert visitor.script("return kptalk.job.id") == video
    visitor.find(f"#videos li[data-id={video}]").find_element(By.XPATH, ".//button[text()='Delete']").click()
    visitor.wait(lambda: not visitor.browser.find_elements(By.CSS_SELECTOR, f"#videos li[data-id={video}]"))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_everybody_can_use_it(browser, served, files, width, scheme):
    """Nothing is cut off, every control has a name, the tab key reaches all, and colours have contrast."""
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        visitor = Visitor(browser, served[0])
        visitor.give(files / "two.png")
        visitor.script("document.getElementById('options').open = true")
        assert visitor.script("return document.documentElement.scrollWidth <= innerWidth")
        nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        controls = [
            node
            for node in nodes
            if not node.get("ignored")
            and any(each["name"] == "focusable" and each["value"].get("value") for each in node.get("properties", ()))
            and node["role"]["value"] not in ("RootWebArea", "main")
        ]
        assert len(controls) > 15
        assert [node["role"]["value"] for node in controls if not node.get("name", {}).get("value")] == []
        assert contrast(visitor) == []
        visitor.script("document.activeElement.blur()")
        reached = set()
        for _ in range(40):
            for kind in ("keyDown", "keyUp"):
                browser.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": kind, "key": "Tab", "code": "Tab"} | TAB)
            reached.add(visitor.script("return document.activeElement.id"))
        assert {"photo-file", "camera-on", "speech-file", "framing", "seed", "consent", "make"} <= reached
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def contrast(visitor):
    """Texts whose colour is not 4.5 times as bright, or as dark, as what is behind them (WCAG 2.2, AA)."""
    return visitor.script("""
      const parse = text => text.match(/[\\d.]+/g).map(Number);
      const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
      const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
        .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
      const behind = node => {
        for (let each = node; each; each = each.parentElement) {
          const colour = parse(getComputedStyle(each).backgroundColor);
          if (colour.length < 4 || colour[3] > 0.99) return colour;
        }
        return [255, 255, 255];
      };
      const bad = [];
      for (const node of document.querySelectorAll('body *')) {
        if (!node.offsetParent || ![...node.childNodes].some(each => each.nodeType === 3 && each.data.trim())) continue;
        const [one, other] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (ratio < 4.5) bad.push([node.textContent.trim().slice(0, 40), ratio]);
      }
      return bad;""")


def test_a_key_opens_the_door(browser, tmp_path):
    with running(tmp_path / "locked", keys=(KEY,)) as (address, _):
        visitor = Visitor(browser, address)
        visitor.wait(lambda: visitor.find("#door").is_displayed())
        assert not visitor.find("#main").is_displayed()
        visitor.find("#key").send_keys("wrong", Keys.ENTER)
        visitor.wait(lambda: visitor.text("#door-note") == "This key is not known.")
        visitor.find("#key").clear()
        visitor.find("#key").send_keys(KEY, Keys.ENTER)
        visitor.wait(lambda: visitor.find("#main").is_displayed())
        assert not visitor.find("#source-text").is_displayed()  # no voice is set up there
