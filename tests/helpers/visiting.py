"""Somebody at a browser that Selenium drives."""

import time


class Visitor:
    """Somebody who has the page open."""

    def __init__(self, browser, address, before=""):
        self.browser = browser
        script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": before})
        browser.get(address)
        browser.execute_script("sessionStorage.clear()")
        browser.get(address)
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
        browser.get_log("browser")  # of the visitor before

    def find(self, css):
        return self.browser.find_element("css selector", css)

    def script(self, code, *values):
        return self.browser.execute_script(code, *values)

    def text(self, css):
        return self.find(css).text

    def wait(self, done, seconds=15):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if value := done():
                return value
            time.sleep(0.03)
        raise AssertionError((self.text("#status"), self.text("#make-note"), self.text("#photo-note")))

    def choose(self, source):
        self.click(f"label:has(input[value={source}])")

    def click(self, css):
        self.script("arguments[0].scrollIntoView({block: 'center'})", self.find(css))
        self.find(css).click()  # as people do it: what a script clicks may not play sound

    def give(self, photo, speech=None, consent=True):
        self.find("#photo-file").send_keys(str(photo))
        self.wait(lambda: "Looking" not in self.text("#photo-note"))
        if speech:
            self.find("#speech-file").send_keys(str(speech))
        if consent:
            self.click("#consent")

    def played(self):
        """Wait until the video has been shown to its end; its length."""
        self.wait(lambda: self.text("#status") == "Done." and self.script("return video.ended"))
        return self.script("return video.duration")

    def problems(self):
        return [each["message"] for each in self.browser.get_log("browser") if each["level"] in ("SEVERE", "WARNING")]
