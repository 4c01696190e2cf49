from __future__ import annotations

import re

from perser.demo.bars import alert, bars, notice
from perser.demo.session import Reply
from perser.inference.prediction import Classification, Prediction

PLAIN = Classification({"angry": 0.25, "sad": 0.75}, ("sad",), 0.1)
OWN = Prediction({"angry": 0.8, "sad": 0.2}, ("angry",), 0.3, path="clip 1", unadapted=PLAIN)


def test_every_emotion_has_bars_with_and_without_the_enrollment():
    page = bars([Reply("first", OWN, enrolled=2)], ("sad", "angry"))
    assert re.findall(r'data-probability="([\d.]+)"', page) == [
        "0.200000",
        "0.750000",
        "0.800000",
        "0.250000",
    ]
    assert re.findall(r"width:([\d.]+%)", page) == ["20.0%", "75.0%", "80.0%", "25.0%"]
    assert re.findall(r'scope="col">([^<]+)', page) == ["emotion", "with 2 examples", "without"]
    assert re.findall(r'scope="row">([^<]+)', page) == ["sad", "angry", "confidence"]
    assert re.findall(r"(\d+)% ✓", page) == ["75", "80"], "the labels are marked by more than a color"
    assert re.findall(r"<td>(\d+%)</td>", page) == ["30%", "10%"]


def test_without_an_enrollment_there_is_one_column():
    alone = Prediction(PLAIN.probabilities, PLAIN.labels, PLAIN.confidence, path="clip 1")
    page = bars([Reply("first", alone), Reply("second", None, problem="too long")], ("angry", "sad"))
    assert re.findall(r'scope="col">([^<]+)', page) == ["emotion", "without examples"]
    assert re.findall(r'data-model="(\w+)"', page) == ["first", "second"]
    assert page.count("<table") == 1
    assert "Too long" in page


def test_what_changed_is_said_above_the_bars():
    reply = Reply("first", OWN, enrolled=2, before={"angry": 0.6, "sad": 0.4})
    page = bars([reply], ("sad", "angry"), "a<b.wav")
    assert "About <strong>a&lt;b.wav</strong>" in page
    assert "Most likely: angry (80%). Without your examples: sad (75%)." in page
    assert '<p class="changed" role="status">Since your last change, angry rose from 60% to 80%' in page
    assert "changed" not in bars([Reply("first", OWN, enrolled=2)], ("sad", "angry"))


def test_texts_from_outside_are_escaped():
    evil = "<img src=x onerror=alert(1)>"
    shown = (
        bars([Reply(evil, OWN, 1, evil)], ("angry", "sad")) + alert([evil, "Bad"]) + notice(evil) + alert([])
    )
    assert "<img" not in shown
    assert shown.count('role="alert"') == 2
    assert "<p>Bad</p>" in shown


def test_a_message_begins_with_a_capital_letter_unless_a_file_is_named():
    shown = alert(["there are no examples: add a clip first", "a.wav: too long", "sad: a label already"])
    assert re.findall("<p>(.*?)</p>", shown) == [
        "There are no examples: add a clip first",
        "a.wav: too long",
        "sad: a label already",
    ]
