"""The page as a real browser shows it and a person uses it: with the mouse, with keys alone, on a telephone.

Screenshots are kept in the folder that PERSER_SCREENSHOTS names, or else in pytest's temporary one.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from perser.inference.recognizer import PersonalRecognizer

COLUMNS = ("own", "unadapted")


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    folder = os.environ.get("PERSER_SCREENSHOTS")
    folder = Path(folder) if folder else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, str]:
    """Recordings that stand for a class each, and such as cannot be used."""
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
    """Somebody with a browser window of their own, and all that went wrong in it."""

    def __init__(self, browser, address, width=390, scheme="light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, permissions=["microphone"]
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.wrong, self.asked = [], []
        self.page.on("console", lambda one: self.wrong.append(one.text) if one.type == "error" else None)
        self.page.on("pageerror", lambda one: self.wrong.append(str(one)))
        self.page.on("response", lambda one: self.wrong.append(one.url) if one.status >= 400 else None)
        self.page.on("request", lambda one: self.asked.append(one.url))
        # From now on, for playwright begins to listen for one too late for a key that is pressed at once.
        self.page.on("filechooser", lambda one: None)
        self.page.goto(address)
        self.button("Upload clips").wait_for()

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True)

    def give(self, button, *files):
        with self.page.expect_file_chooser() as chooser:
            self.button(button).click()
        chooser.value.set_files(files)

    def add(self, *files):
        """Upload examples, and wait for the last of them."""
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
        """Its probabilities, column by column, once the first is headed so."""
        reply = self.page.locator(f'.reply[data-model="{model}"]')
        reply.get_by_role("columnheader", name=heading, exact=True).wait_for()
        cells = reply.locator("[data-probability]").all()
        rows = np.array([float(one.get_attribute("data-probability")) for one in cells]).reshape(3, -1)
        return dict(zip(COLUMNS, rows.T.tolist(), strict=False))

    def close(self):
        self.context.close()


@pytest.fixture
def visit(browser, address):
    """Opens windows; none may have gone wrong, stuck out or asked anybody else."""
    visitors = []

    def opened(**options):
        visitors.append(Visitor(browser, address, **options))
        return visitors[-1]

    yield opened
    for one in visitors:
        assert one.wrong == []
        elsewhere = [url for url in one.asked if not url.startswith((address, "data:", "blob:" + address))]
        assert elsewhere == []
        if not one.page.is_closed():
            assert (
                one.page.evaluate("document.documentElement.scrollWidth") <= one.page.viewport_size["width"]
            )
        one.close()


def said(models, name, clips, pairs, clip):
    """What the recognizer itself says, by column."""
    (one,) = models[name].enroll([(clips[file], words) for file, words in pairs]).predict([clips[clip]])
    both = dict(zip(COLUMNS, (one, one.unadapted), strict=True))
    return {name: pytest.approx([*answer.probabilities.values()], abs=1e-6) for name, answer in both.items()}


def test_from_examples_to_a_profile_and_back(visit, models, clips, shots, tmp_path, monkeypatch):
    one = visit()
    one.page.screenshot(path=shots / "1-empty.png", full_page=True)
    one.add(clips["angry"], clips["happy"])
    one.label(1, "angry")
    one.label(2, "angry", "happy")
    one.listen(clips["sad"])
    pairs = [("angry", "angry"), ("happy", "angry;happy")]
    for name in models:
        assert one.answers(name, "with 2 examples") == said(models, name, clips, pairs, "sad")
    one.page.screenshot(path=shots / "2-answer.png", full_page=True)

    one.add(clips["sad"])
    one.label(3, "sad")
    pairs.append(("sad", "sad"))
    for name in models:
        assert one.answers(name, "with 3 examples") == said(models, name, clips, pairs, "sad")
    one.button("Remove example 1").click()
    for name in models:
        assert one.answers(name, "with 2 examples") == said(models, name, clips, pairs[1:], "sad")
    one.page.screenshot(path=shots / "3-changed.png", full_page=True)

    with one.page.expect_download() as download:
        one.button("Download the profile for second").click()
    assert download.value.suggested_filename == "second.profile"
    download.value.save_as(tmp_path / "alice.profile")
    monkeypatch.setattr("perser.inference.recognizer.load_route_model", lambda folder: models["second"].model)
    (kept,) = PersonalRecognizer.load(tmp_path / "alice.profile", tmp_path).predict([clips["sad"]])
    expected = said(models, "second", clips, pairs[1:], "sad")
    assert [*kept.probabilities.values()] == expected["own"]

    other = visit()
    other.give("Load a profile", tmp_path / "alice.profile")
    other.page.get_by_text("second answers by the profile alice.profile").wait_for()
    other.listen(clips["sad"])
    assert other.answers("second", "with 2 examples") == expected
    assert set(other.answers("first", "without examples")) == {"own"}


def test_one_page_never_sees_anothers_enrollment(visit, models, clips):
    one, other = visit(), visit()
    one.add(clips["angry"])
    one.label(1, "sad")
    one.listen(clips["sad"])
    one.answers("first", "with 1 example")
    other.listen(clips["sad"])
    assert set(other.answers("first", "without examples")) == {"own"}
    assert other.page.locator("fieldset").count() == 0
    other.add(clips["happy"])
    other.label(1, "happy")
    assert other.answers("first", "with 1 example") == said(
        models, "first", clips, [("happy", "happy")], "sad"
    )
    one.page.reload()
    one.button("Upload clips").wait_for()
    one.listen(clips["sad"])
    assert set(one.answers("first", "without examples")) == {"own"}


def test_what_is_clicked_while_a_model_learns_counts(visit, models, clips, monkeypatch):
    fake = type(models["first"].model)
    enroll = fake.enroll

    def slowly(*arguments):
        time.sleep(0.3)
        return enroll(*arguments)

    one = visit()
    one.add(clips["angry"])
    one.listen(clips["sad"])
    monkeypatch.setattr(fake, "enroll", slowly)
    one.label(1, "angry", "happy", "sad")
    wanted = said(models, "first", clips, [("angry", "angry;happy;sad")], "sad")
    until = time.monotonic() + 10
    while one.answers("first", "with 1 example") != wanted:
        assert time.monotonic() < until
        one.page.wait_for_timeout(100)


def test_files_go_with_the_page(visit, clips, folder):
    def kept():
        return [one for one in folder.rglob("*") if one.is_file() and one.stat().st_size]

    one = visit()
    one.add(clips["angry"])
    one.label(1, "sad")
    one.listen(clips["sad"])
    with one.page.expect_download() as download:
        one.button("Download the profile for first").click()
    download.value.path()
    assert len(kept()) == 3, "the example, the clip, the profile"
    one.page.close()
    until = time.monotonic() + 10
    while kept() and time.monotonic() < until:
        time.sleep(0.1)
    assert kept() == []


def test_what_cannot_be_used_is_said_in_a_line(visit, clips, shots):
    one = visit()
    one.give("Upload clips", clips["angry"], clips["note"], clips["long"])
    lines = one.page.locator("#message [role=alert] p")
    lines.first.wait_for()
    told = lines.all_inner_texts()
    assert told[0].startswith("note.wav: unreadable")
    assert told[1:] == ["long.ogg: longer than 5 s"]
    one.button("Remove example 1").wait_for()
    one.page.screenshot(path=shots / "4-problems.png", full_page=True)
    one.give("Upload clips", clips["large"])
    one.page.get_by_text('exceed the maximum allowed size of 2.0 Mb: "large.wav"').wait_for()
    one.button("Download the profile for first").click()
    one.page.get_by_text("there is no profile yet: label an example first").wait_for()
    assert one.page.locator("fieldset").count() == 1


def test_keys_are_enough(visit, clips):
    one = visit(width=1280)

    def reach(target):
        for _ in range(40):
            if target.evaluate("one => one === document.activeElement"):
                return
            one.page.keyboard.press("Tab")
        raise AssertionError(f"{target} is out of the keys' reach")

    reach(one.button("Upload clips"))
    with one.page.expect_file_chooser() as chooser:
        one.page.keyboard.press("Enter")
    chooser.value.set_files([clips["angry"]])
    one.button("Remove example 1").wait_for()
    for word in ("angry", "sad"):
        reach(one.emotion(1, word))
        one.page.keyboard.press("Space")
    reach(one.button("Drop an audio file here to upload"))
    with one.page.expect_file_chooser() as chooser:
        one.page.keyboard.press("Enter")
    chooser.value.set_files([clips["sad"]])
    one.answers("first", "with 1 example")
    reach(one.button("Download the profile for first"))
    with one.page.expect_download():
        one.page.keyboard.press("Enter")
    reach(one.button("Remove example 1"))
    one.page.keyboard.press("Enter")
    one.answers("first", "without examples")


def test_an_example_can_be_recorded(visit):
    one = visit()
    recorder = one.page.locator("#record")
    recorder.get_by_role("button", name="Record").click()
    recorder.get_by_text("0:01").wait_for()
    recorder.get_by_role("button", name="Stop").first.click()
    one.button("Remove example 1").wait_for()
    heard = "document.querySelector('audio[aria-label=\"example 1: audio.wav\"]').duration"
    one.page.wait_for_function(f"{heard} > 0.1")
    assert one.page.evaluate(heard) < 5
    recorder.get_by_role("button", name="Record").wait_for()


@pytest.mark.parametrize("width", [390, 1280])
def test_it_follows_light_and_dark(visit, clips, shots, width):
    grounds = set()
    for scheme in ("light", "dark"):
        one = visit(width=width, scheme=scheme)
        one.add(clips["angry"], clips["happy"])
        one.label(1, "angry")
        one.listen(clips["sad"])
        one.answers("first", "with 1 example")
        one.page.screenshot(path=shots / f"{scheme}-{width}.png", full_page=True)
        grounds.add(one.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
