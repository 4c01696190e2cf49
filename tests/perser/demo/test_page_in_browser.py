"""The page as a real browser shows it and a person uses it: with the mouse, with keys alone, on a telephone.

Screenshots are saved in the folder that PERSER_SCREENSHOTS names, or else in pytest's temporary folder.
"""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
import soundfile

from perser.inference.recognizer import PersonalRecognizer
from tests.accessibility import accessibility_findings

COLUMNS = ("own", "unadapted")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, str]:
    """A recording of each class, and files that cannot be used."""
    folder = tmp_path_factory.mktemp("clips")
    for place, name in enumerate(("angry", "happy", "sad")):
        samples = place / 4 + 0.01 * np.sin(np.arange(3200))
        soundfile.write(folder / f"{name}.wav", samples, 16_000, subtype="FLOAT")
    (folder / "note.wav").write_text("no sound")
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000 * 70)
    soundfile.write(folder / "long.ogg", noise[: 16_000 * 6], 16_000)
    soundfile.write(folder / "large.wav", noise, 16_000)
    return {path.stem: str(path) for path in folder.iterdir()}


class Visitor:
    """A visitor with a browser window, and the errors that occurred in it."""

    def __init__(self, browser, address, width=390, scheme="light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, permissions=["microphone"]
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.errors, self.requested = [], []
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("response", self._note_response)
        self.page.on("request", lambda request: self.requested.append(request.url))
        # Listens from now on: playwright would begin too late for a key that is pressed at once.
        self.page.on("filechooser", lambda chooser: None)
        self.page.goto(address)
        self.button("Upload clips").wait_for()

    def _note_console(self, entry):
        if entry.type == "error":
            self.errors.append(entry.text)

    def _note_response(self, response):
        if response.status >= 400:
            self.errors.append(response.url)

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True)

    def give(self, button, *files):
        with self.page.expect_file_chooser() as chooser:
            self.button(button).click()
        chooser.value.set_files(files)

    def add(self, *files):
        """Upload examples and wait for the last of them."""
        before = self.page.get_by_role("button", name=re.compile("^Remove ")).count()
        self.give("Upload clips", *files)
        self.button(f"Remove example {before + len(files)}").wait_for()

    def emotion(self, number, word):
        row = self.page.locator("fieldset").filter(has_text=f"What you hear in example {number}")
        return row.get_by_label(word, exact=True)

    def label(self, number, *words):
        for word in words:
            self.emotion(number, word).check()

    def listen(self, file):
        """Choose the clip to answer about."""
        self.page.locator("#clip input[type=file]").set_input_files(file)
        self.page.locator("#answer table").first.wait_for()

    def answers(self, model, heading):
        """Return a model's probabilities by column, once the first column has this heading."""
        reply = self.page.locator(f'.reply[data-model="{model}"]')
        reply.get_by_role("columnheader", name=heading, exact=True).wait_for()
        cells = reply.locator("[data-probability]").all()
        rows = np.array([float(cell.get_attribute("data-probability")) for cell in cells]).reshape(3, -1)
        return dict(zip(COLUMNS, rows.T.tolist(), strict=False))

    def close(self):
        self.context.close()


@pytest.fixture
def visit(browser, address):
    """Return a function that opens windows. None may have errors, scroll sideways or send requests
    elsewhere."""
    visitors = []

    def opened(**options):
        visitors.append(Visitor(browser, address, **options))
        return visitors[-1]

    yield opened
    for visitor in visitors:
        assert visitor.errors == []
        own = (address, "data:", "blob:" + address)
        assert [url for url in visitor.requested if not url.startswith(own)] == []
        if not visitor.page.is_closed():
            width = visitor.page.evaluate("document.documentElement.scrollWidth")
            assert width <= visitor.page.viewport_size["width"]
        visitor.close()


def expected_answers(models, name, clips, pairs, clip):
    """Return the recognizer's own answers by column."""
    (prediction,) = (
        models[name].enroll([(clips[file], words) for file, words in pairs]).predict([clips[clip]])
    )
    both = dict(zip(COLUMNS, (prediction, prediction.unadapted), strict=True))
    return {name: pytest.approx([*answer.probabilities.values()], abs=1e-6) for name, answer in both.items()}


def test_from_examples_to_a_profile_and_back(visit, models, clips, shots, tmp_path, monkeypatch):
    visitor = visit()
    visitor.page.screenshot(path=shots / "1-empty.png", full_page=True)
    visitor.add(clips["angry"], clips["happy"])
    visitor.label(1, "angry")
    visitor.label(2, "angry", "happy")
    visitor.listen(clips["sad"])
    pairs = [("angry", "angry"), ("happy", "angry;happy")]
    for name in models:
        assert visitor.answers(name, "with 2 examples") == expected_answers(models, name, clips, pairs, "sad")
    visitor.page.screenshot(path=shots / "2-answer.png", full_page=True)

    visitor.add(clips["sad"])
    visitor.label(3, "sad")
    pairs.append(("sad", "sad"))
    for name in models:
        assert visitor.answers(name, "with 3 examples") == expected_answers(models, name, clips, pairs, "sad")
    visitor.button("Remove example 1").click()
    for name in models:
        assert visitor.answers(name, "with 2 examples") == expected_answers(
            models, name, clips, pairs[1:], "sad"
        )
    visitor.page.screenshot(path=shots / "3-changed.png", full_page=True)

    with visitor.page.expect_download() as download:
        visitor.button("Download the profile for second").click()
    assert download.value.suggested_filename == "second.profile"
    download.value.save_as(tmp_path / "alice.profile")
    monkeypatch.setattr("perser.inference.recognizer.load_route_model", lambda folder: models["second"].model)
    (kept,) = PersonalRecognizer.load(tmp_path / "alice.profile", tmp_path).predict([clips["sad"]])
    expected = expected_answers(models, "second", clips, pairs[1:], "sad")
    assert [*kept.probabilities.values()] == expected["own"]

    other = visit()
    other.give("Load a profile", tmp_path / "alice.profile")
    other.page.get_by_text("second answers by the profile alice.profile").wait_for()
    other.listen(clips["sad"])
    assert other.answers("second", "with 2 examples") == expected
    assert set(other.answers("first", "without examples")) == {"own"}


def test_pages_do_not_share_enrollments(visit, models, clips):
    visitor, other = visit(), visit()
    visitor.add(clips["angry"])
    visitor.label(1, "sad")
    visitor.listen(clips["sad"])
    visitor.answers("first", "with 1 example")
    other.listen(clips["sad"])
    assert set(other.answers("first", "without examples")) == {"own"}
    assert other.page.locator("fieldset").count() == 0
    other.add(clips["happy"])
    other.label(1, "happy")
    assert other.answers("first", "with 1 example") == expected_answers(
        models, "first", clips, [("happy", "happy")], "sad"
    )
    visitor.page.reload()
    visitor.button("Upload clips").wait_for()
    visitor.listen(clips["sad"])
    assert set(visitor.answers("first", "without examples")) == {"own"}


def test_clicks_while_a_model_is_enrolled_count(visit, models, clips, monkeypatch):
    fake = type(models["first"].model)
    enroll = fake.enroll

    def slowly(*arguments):
        time.sleep(0.3)
        return enroll(*arguments)

    visitor = visit()
    visitor.add(clips["angry"])
    visitor.listen(clips["sad"])
    monkeypatch.setattr(fake, "enroll", slowly)
    visitor.label(1, "angry", "happy", "sad")
    wanted = expected_answers(models, "first", clips, [("angry", "angry;happy;sad")], "sad")
    until = time.monotonic() + 60
    while visitor.answers("first", "with 1 example") != wanted:
        assert time.monotonic() < until
        visitor.page.wait_for_timeout(100)


def test_closing_the_page_removes_its_files(visit, clips, folder):
    def files():
        return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]

    visitor = visit()
    visitor.add(clips["angry"])
    visitor.label(1, "sad")
    visitor.listen(clips["sad"])
    with visitor.page.expect_download() as download:
        visitor.button("Download the profile for first").click()
    download.value.path()
    assert len(files()) == 3, "the example, the clip, the profile"
    visitor.page.close()
    until = time.monotonic() + 60
    while files() and time.monotonic() < until:
        time.sleep(0.1)
    assert files() == []


def test_files_that_cannot_be_used_are_named(visit, clips, shots):
    visitor = visit()
    visitor.give("Upload clips", clips["angry"], clips["note"], clips["long"])
    lines = visitor.page.locator("#message [role=alert] p")
    lines.first.wait_for()
    messages = lines.all_inner_texts()
    assert messages[0].startswith("note.wav: unreadable")
    assert messages[1:] == ["long.ogg: longer than 5 s"]
    visitor.button("Remove example 1").wait_for()
    visitor.page.screenshot(path=shots / "4-problems.png", full_page=True)
    visitor.give("Upload clips", clips["large"])
    visitor.page.get_by_text('exceed the maximum allowed size of 2.0 Mb: "large.wav"').wait_for()
    visitor.button("Download the profile for first").click()
    visitor.page.get_by_text("there is no profile yet: label an example first").wait_for()
    assert visitor.page.locator("fieldset").count() == 1


def test_the_page_can_be_used_with_the_keyboard_alone(visit, clips):
    visitor = visit(width=1280)

    def reach(target):
        for _ in range(40):
            if target.evaluate("element => element === document.activeElement"):
                return
            visitor.page.keyboard.press("Tab")
        raise AssertionError(f"{target} cannot be reached with the keyboard")

    reach(visitor.button("Ask about clip A"))
    visitor.page.keyboard.press("Enter")
    visitor.answers("first", "without examples")
    reach(visitor.button("Upload clips"))
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.keyboard.press("Enter")
    chooser.value.set_files([clips["angry"]])
    visitor.button("Remove example 1").wait_for()
    for word in ("angry", "sad"):
        reach(visitor.emotion(1, word))
        visitor.page.keyboard.press("Space")
    reach(visitor.button("Drop an audio file here to upload"))
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.keyboard.press("Enter")
    chooser.value.set_files([clips["sad"]])
    visitor.answers("first", "with 1 example")
    reach(visitor.button("Download the profile for first"))
    with visitor.page.expect_download():
        visitor.page.keyboard.press("Enter")
    reach(visitor.button("Remove example 1"))
    visitor.page.keyboard.press("Enter")
    visitor.answers("first", "without examples")


def test_an_example_can_be_recorded(visit):
    visitor = visit()
    recorder = visitor.page.locator("#record")
    recorder.get_by_role("button", name="Record").click()
    recorder.get_by_text("0:01").wait_for()
    recorder.get_by_role("button", name="Stop").first.click()
    visitor.button("Remove example 1").wait_for()
    duration = "document.querySelector('audio[aria-label=\"example 1: audio.wav\"]').duration"
    visitor.page.wait_for_function(f"{duration} > 0.1")
    assert visitor.page.evaluate(duration) < 5
    recorder.get_by_role("button", name="Record").wait_for()


def test_the_page_can_be_tried_without_a_recording(visit, clips, shots):
    visitor = visit()
    page = visitor.page
    assert "simulated speech" in page.get_by_text("These three clips").inner_text()
    for place, name in enumerate("ABC"):
        playing = f"document.getElementById('simulated-{place}')"
        page.wait_for_function(f"{playing}.readyState > 0")
        assert page.evaluate(f"{playing}.duration") == pytest.approx(0.5, abs=0.05)
        visitor.button(f"Listen to clip {name}").click()
        page.wait_for_function(f"{playing}.played.length > 0")
    visitor.button("Ask about clip A").click()
    page.get_by_text("clip A, simulated speech").wait_for()
    before = visitor.answers("first", "without examples")["own"]
    assert page.locator(".changed").count() == 0

    visitor.button("Add clip B to my examples").click()
    visitor.button("Remove example 1").wait_for()
    visitor.label(1, "sad")
    now = visitor.answers("first", "with 1 example")
    assert now["unadapted"] == before
    changed = page.locator('.reply[data-model="first"] .changed').inner_text()
    assert f"sad rose from {before[2]:.0%} to {now['own'][2]:.0%}" in changed
    page.screenshot(path=shots / "5-without-a-recording.png", full_page=True)

    visitor.listen(clips["happy"])
    page.locator("#answer").get_by_text("happy.wav").wait_for()
    visitor.button("Ask about clip C").click()
    page.get_by_text("clip C, simulated speech").wait_for()


def test_the_page_says_which_clip_to_label_next(visit, clips):
    visitor = visit()
    said = visitor.page.locator("#next")
    visitor.button("Which clip should I label next?").click()
    said.get_by_text("There are no examples: add a clip first").wait_for()
    visitor.add(clips["angry"], clips["happy"])
    visitor.label(1, "angry")
    visitor.button("Which clip should I label next?").click()
    said.get_by_text("Label example 2 next").wait_for()
    visitor.label(2, "happy")
    visitor.page.wait_for_function("!document.querySelector('#next').innerText.trim()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1920])
def test_axe_core_finds_nothing(visit, clips, width, scheme):
    visitor = visit(width=width, scheme=scheme)
    everything = ("critical", "serious", "moderate", "minor")
    visitor.page.wait_for_function("!document.querySelector('p.loading')")  # gradio's own, for a moment
    assert accessibility_findings(visitor.page, everything) == []
    visitor.give("Upload clips", clips["angry"], clips["note"])
    visitor.button("Remove example 1").wait_for()
    assert accessibility_findings(visitor.page, everything) == [], "with an error"
    visitor.label(1, "angry")
    visitor.listen(clips["sad"])
    visitor.answers("first", "with 1 example")
    visitor.label(1, "sad")
    visitor.page.locator(".changed").first.wait_for()
    assert accessibility_findings(visitor.page, everything) == [], "with an answer"


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_follows_the_light_and_dark_scheme(visit, clips, shots, width):
    backgrounds = set()
    for scheme in ("light", "dark"):
        visitor = visit(width=width, scheme=scheme)
        visitor.add(clips["angry"], clips["happy"])
        visitor.label(1, "angry")
        visitor.listen(clips["sad"])
        visitor.answers("first", "with 1 example")
        visitor.page.screenshot(path=shots / f"{scheme}-{width}.png", full_page=True)
        backgrounds.add(visitor.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2
