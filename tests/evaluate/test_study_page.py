"""Participants in a real browser, headless Chromium: they watch, vote, reload and save, and their votes are counted."""

import json
import shutil
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from studies import video_of, write_methods

from kptalk.evaluate.study.build import build_study
from kptalk.evaluate.study.tally import tally

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install 'kptalk[test]'")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

PROGRAMS = {
    "chromium": shutil.which("chromium") or shutil.which("google-chrome"),
    "chromedriver": shutil.which("chromedriver"),
}
MISSING = [name for name, path in PROGRAMS.items() if path is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"no {' and no '.join(MISSING)} here: apt-get install chromium chromium-driver"
)

METHODS = ["SecretAlpha", "SecretBeta", "SecretGamma"]
FAVOURITE = {"lip_sync": "SecretAlpha", "head_diversity": "SecretGamma", "naturalness": "SecretBeta"}
TITLE = "Heads & <b>hair</b>\"'</script><script>document.broken = 1</script>"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    folders = write_methods(root, METHODS, ["a.mp4", "b.mp4", "c.mp4"], seconds=2)
    return build_study(folders, root / "page", title=TITLE)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads):
    options = webdriver.ChromeOptions()
    options.binary_location = PROGRAMS["chromium"]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(PROGRAMS["chromedriver"]))
    yield driver
    driver.quit()


class Participant:
    """One who has just opened the page, and has not taken part before."""

    def __init__(self, browser, study, address: str | None = None):
        self.browser, self.study = browser, study
        browser.get(address or (study.page / "index.html").as_uri())
        self.restart()

    def restart(self, **memory):
        """Open the page with nothing to remember but this; again where Chromium still hands it the old memory."""
        for _ in range(20):
            self.script("localStorage.clear()")
            if memory:
                self.script(f"localStorage[place] = {json.dumps(json.dumps(memory))}")
            self.reload()
            state = self.script("return state")
            if state == memory or (not memory and state["position"] == -1):
                return
        raise AssertionError("the browser does not forget")

    def reload(self):
        time.sleep(0.3)  # Chromium hands what a page keeps to the next one a moment later
        self.browser.refresh()

    def find(self, css: str):
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def script(self, code: str):
        return self.browser.execute_script(code)

    def wait(self, code: str):
        return WebDriverWait(self.browser, 5, 0.05).until(lambda _: self.script(f"return {code}"))

    def keys(self, *keys: str):
        ActionChains(self.browser, duration=0).send_keys(*keys).perform()

    def clip(self) -> str:
        return self.script("return clips[state.position].code")

    def order(self) -> list[str]:
        return self.script("return videos().map(video => video.src.split('/').pop().split('.')[0])")

    def choose(self, question: str, method: str):
        code = video_of(self.study.key, self.clip(), method)
        self.find(f"#{question} label:nth-child({self.order().index(code) + 1})").click()

    def chosen(self) -> dict[str, str]:
        rows = "[...document.querySelectorAll('#questions :checked')].map(radio => [radio.name, radio.value])"
        return self.script(f"return Object.fromEntries({rows})")

    def vote_everywhere(self, favourite: dict[str, str]):
        self.find("#begin").click()
        while self.find("#clip").is_displayed():
            for question, method in favourite.items():
                self.choose(question, method)
            self.find("#next").click()

    def save(self, downloads):
        before = set(downloads.iterdir())
        self.find("#save").click()
        for _ in range(100):
            new = [path for path in set(downloads.iterdir()) - before if path.suffix == ".json"]
            if new:
                return new[0]
            time.sleep(0.05)
        raise AssertionError(f"no file of votes appeared in {downloads}")


@pytest.fixture
def participant(browser, study):
    browser.get_log("browser")
    yield Participant(browser, study)
    assert browser.get_log("browser") == []


def test_votes_are_cast_saved_and_counted(browser, study, downloads, tmp_path):
    first = Participant(browser, study)
    first.vote_everywhere(FAVOURITE)
    one = first.save(downloads)
    second = Participant(browser, study)
    second.vote_everywhere({**FAVOURITE, "lip_sync": "SecretBeta"})
    two = second.save(downloads)
    again = tmp_path / "again.json"
    again.write_bytes(second.save(downloads).read_bytes())  # one who presses the button twice

    result = tally(study.key, [one, two, again])
    assert (result.participants, result.clips, result.resampled) == (2, 3, "participants")
    assert len(result.refused) == 1
    percents = {name: [share.percent for share in shares] for name, shares in result.shares.items()}
    assert percents == {"lip_sync": [50, 50, 0], "head_diversity": [0, 0, 100], "naturalness": [0, 100, 0]}

    data = json.loads(one.read_text())
    assert one.name == f"votes-{data['study']}-{data['participant']}.json"
    assert all(len(vote["order"]) == 3 and vote["time"].endswith("Z") for vote in data["votes"])
    assert {vote["clip"] for vote in data["votes"]} == {
        clip["code"] for clip in json.loads(study.key.read_text())["clips"]
    }
    assert not any(method in one.read_text() for method in METHODS)


def test_the_page_never_names_a_method(participant):
    participant.vote_everywhere(FAVOURITE)
    for secret in (*METHODS, "a.mp4"):
        assert secret not in participant.browser.page_source
        assert secret not in participant.script("return JSON.stringify(localStorage)")


def test_a_title_with_markup_is_shown_as_text(participant):
    assert participant.find("#start h2").text == TITLE
    assert participant.browser.title == TITLE
    assert participant.script("return document.broken") is None


def test_every_participant_has_an_own_order_and_keeps_it(participant):
    orders = []
    for name in ("one", "two"):
        participant.restart(participant=name, position=0, votes={})
        orders.append(participant.script("return clips.map(order)"))
        assert participant.order() == orders[-1][0]
        participant.reload()
        assert participant.script("return clips.map(order)") == orders[-1]
    assert sorted(map(sorted, orders[0])) == sorted(map(sorted, orders[1]))
    one, two = ({min(codes): codes for codes in clips} for clips in orders)
    assert one != two


def test_orders_are_balanced(participant):
    """Of 3000 participants a sixth see each order of three videos, and two clips' orders do not hang together."""
    seen = participant.script(
        "return [...Array(3000).keys()].map(number => { state.participant = fresh().participant;"
        " return study.clips.slice(0, 2).map(clip => order(clip).map(code => Object.keys(clip.videos).indexOf(code)))})"
    )
    for clip in (0, 1):
        counts = [sum(orders[clip] == kind for orders in seen) for kind in map(list, {tuple(o[0]) for o in seen})]
        assert len(counts) == 6
        assert all(abs(count - 500) < 5 * 20.4 for count in counts)  # five standard deviations of the binomial
    both = sum(first == second for first, second in seen)
    assert abs(both - 500) < 5 * 20.4


def test_nobody_goes_on_with_questions_open(participant):
    participant.find("#begin").click()
    first = participant.clip()
    participant.find("#next").click()
    assert len(participant.browser.find_elements(By.CSS_SELECTOR, ".missing")) == 3
    participant.choose("lip_sync", METHODS[0])
    participant.choose("naturalness", METHODS[0])
    participant.find("#next").click()
    assert participant.clip() == first
    assert "1 still to do" in participant.find("#message").text
    assert [row.get_attribute("id") for row in participant.browser.find_elements(By.CSS_SELECTOR, ".missing")] == [
        "head_diversity"
    ]
    participant.choose("head_diversity", METHODS[0])
    participant.find("#next").click()
    assert participant.clip() != first
    # Nor by what the browser remembers.
    participant.script("state.position = 3; remember()")
    for _ in range(20):  # until Chromium hands over what the page kept
        participant.reload()
        if participant.find("#count").text:
            break
    assert "Clip 2 of 3" in participant.find("#count").text


def test_back_and_reload_keep_the_answers(participant):
    participant.find("#begin").click()
    for question, method in FAVOURITE.items():
        participant.choose(question, method)
    answers, order = participant.chosen(), participant.order()
    assert len(answers) == 3
    participant.find("#next").click()
    participant.choose("lip_sync", METHODS[1])
    participant.reload()
    assert "Clip 2 of 3" in participant.find("#count").text
    assert list(participant.chosen()) == ["lip_sync"]
    participant.find("#clip .back").click()
    assert (participant.chosen(), participant.order()) == (answers, order)


def test_playing_together_and_alone(participant):
    playing = "videos().map(video => [!video.paused, video.muted])"
    participant.find("#begin").click()
    participant.find("#all").click()
    participant.wait("videos().every(video => video.currentTime > 0.4)")
    assert participant.script(f"return {playing}") == [[True, False], [True, True], [True, True]]
    spread = "Math.max(...videos().map(v => v.currentTime)) - Math.min(...videos().map(v => v.currentTime))"
    assert participant.script(f"return {spread}") < 0.2
    participant.find("figure:nth-child(2) button").click()
    assert participant.script(f"return {playing}") == [[False, False], [True, False], [False, True]]
    assert participant.script("return videos()[1].currentTime") < 0.3  # from the start
    participant.find("figure:nth-child(2) button").click()
    assert not participant.script("return videos().some(video => !video.paused)")
    assert participant.script("return videos()[0].videoWidth") == 64


def test_all_of_it_works_by_keyboard(participant, downloads):
    participant.keys(Keys.TAB, Keys.ENTER)
    for number in range(3):
        assert f"Clip {number + 1} of 3" in participant.find("#count").text
        participant.keys("p")
        participant.wait("videos().every(video => !video.paused)")
        participant.keys("c")
        participant.wait("videos().filter(video => !video.paused).length === 1")
        assert participant.script("return [videos()[2].paused, videos()[2].muted]") == [False, False]
        participant.keys(*[Keys.TAB] * 5, Keys.SPACE, Keys.TAB, Keys.SPACE, Keys.ARROW_RIGHT, Keys.TAB, Keys.ARROW_LEFT)
        order = participant.order()
        assert participant.chosen() == {"lip_sync": order[0], "head_diversity": order[1], "naturalness": order[2]}
        participant.keys(Keys.ENTER)
    assert participant.find("#end").is_displayed()
    before = set(downloads.iterdir())
    participant.keys(Keys.TAB, Keys.ENTER)
    WebDriverWait(participant.browser, 5, 0.05).until(lambda _: set(downloads.iterdir()) - before)


def test_it_fits_a_phone(participant):
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    participant.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        participant.reload()
        for _ in range(4):
            assert participant.script("return document.documentElement.scrollWidth") <= 390
            sizes = "[...document.querySelectorAll('button, label')].map(e => e.getBoundingClientRect())"
            shown = f"{sizes}.filter(box => box.width).map(box => [box.left, box.right, box.height])"
            for left, right, height in participant.script(f"return {shown}"):
                assert left >= 0
                assert right <= 390
                assert height >= 40
            participant.script(
                "for (const c of clips) for (const q of study.questions)"
                " state.votes[c.code] = {...votesOf(c), [q.key]: {chosen: order(c)[0], time: ''}};"
                " step(1)"
            )
        assert participant.find("#end").is_displayed()
    finally:
        participant.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_next_participant_starts_anew(participant, downloads):
    participant.vote_everywhere(FAVOURITE)
    assert not participant.find("#another").is_displayed()  # first the votes are saved
    participant.save(downloads)
    before = participant.script("return state.participant")
    participant.find("#another").click()
    participant.browser.switch_to.alert.accept()
    assert participant.find("#start").is_displayed()
    assert participant.script("return state.participant") != before
    assert participant.script("return state.votes") == {}


def test_a_video_that_cannot_be_played_is_told(browser, study, tmp_path):
    page = shutil.copytree(study.page, tmp_path / "page")
    for video in page.glob("videos/*"):
        video.write_bytes(b"no video")
    visitor = Participant(browser, study, (page / "index.html").as_uri())
    visitor.find("#begin").click()
    visitor.wait("document.querySelectorAll('figure [role=alert]').length === 3")
    assert "cannot be played here" in visitor.find("figure").text
    for question, method in FAVOURITE.items():
        visitor.choose(question, method)
    visitor.find("#next").click()
    assert "cannot be judged" in visitor.find("#message").text
    assert "Clip 1 of 3" in visitor.find("#count").text


def test_a_browser_that_keeps_nothing_is_told_and_can_vote(browser, study, downloads):
    block = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('denied'); }})"
    page = (study.page / "index.html").as_uri()
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": block})
    try:
        browser.get("about:blank")
        browser.get(page)
        visitor = object.__new__(Participant)
        visitor.browser, visitor.study = browser, study
        assert "keeps nothing" in visitor.find("#forgetful").text
        visitor.vote_everywhere(FAVOURITE)
        assert tally(study.key, [visitor.save(downloads)]).participants == 1
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_it_works_from_a_web_server(browser, study, downloads):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=study.page))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        visitor = Participant(browser, study, f"http://127.0.0.1:{server.server_port}/")
        visitor.vote_everywhere(FAVOURITE)
        assert tally(study.key, [visitor.save(downloads)]).participants == 1
        visitor.find("#end .back").click()
        visitor.find("#all").click()
        visitor.wait("videos().every(video => video.currentTime > 0.1)")
        browser.get("about:blank")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
