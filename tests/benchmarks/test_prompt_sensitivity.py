"""Wordings of a prompt: how they are made, what they change, and how the variance of scores is divided."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest

from benchmarks import icl_controls as module
from benchmarks.icl_controls import icl_controls
from benchmarks.prompt_sensitivity import instructions_of, variance_shares, worded_methods
from perser.errors import UserError
from perser.io.emotion_names import NAMES
from speechlm_icl.in_context import PLAIN, InContextPersonalizer
from speechlm_icl.prompt.wordings import INSTRUCTIONS, LABEL_WORDS, instruction_with


class Reader(InContextPersonalizer):
    """Answers rightly with names and synonyms, and at chance with letters; `short` makes it worse."""

    route: ClassVar[str] = "speech-lm"

    def __init__(self, episodes, emotions, instruction=None, words=None) -> None:
        super().__init__(None, PLAIN)
        self.episodes, self._emotions = episodes, emotions
        self.instruction = instruction
        self.words = words or {name: name for name in emotions.names}

    emotions = property(lambda self: self._emotions)

    def features_of(self, utterances):
        raise NotImplementedError

    def reading(self, pairs):
        raise NotImplementedError

    def worded(self, instruction, words):
        return Reader(self.episodes, self._emotions, instruction, words)

    def personalize(self, support):
        return self

    def predict_proba(self, utterances):
        episode = next(each for each in self.episodes if each.query_utterances == tuple(utterances))
        right = self._emotions.distribution(episode.query_emotions)
        known = 0.0 if "A" in self.words.values() else 0.8
        known /= 2 if (self.instruction or "").startswith("Which") else 1
        return (known * right + (1 - known) / len(self._emotions)).astype(np.float32)


def naive_shares(table: np.ndarray) -> dict[str, float]:
    """The shares from sums over all cells, one by one."""
    grand = float(np.mean(table))
    sums = dict.fromkeys(("instruction", "label words", "order", "episode", "both", "total"), 0.0)
    for i, w, o, e in np.ndindex(table.shape):
        instruction, words = table[i].mean() - grand, table[:, w].mean() - grand
        sums["instruction"] += instruction**2
        sums["label words"] += words**2
        sums["both"] += (table[i, w].mean() - grand - instruction - words) ** 2
        sums["order"] += (table[:, :, o].mean() - grand) ** 2
        sums["episode"] += (table[..., e].mean() - grand) ** 2
        sums["total"] += (table[i, w, o, e] - grand) ** 2
    shares = {name: value / sums["total"] for name, value in sums.items() if name != "total"}
    return shares | {"rest": 1 - sum(shares.values())}


def test_shares_of_the_variance_are_those_of_a_naive_sum():
    table = np.random.default_rng(0).normal(size=(3, 2, 4, 5))
    table += np.arange(3)[:, None, None, None]
    expected = naive_shares(table)
    assert variance_shares(table) == {name: pytest.approx(value) for name, value in expected.items()}
    assert sum(expected.values()) == pytest.approx(1)


def test_a_variance_of_one_cause_is_all_its_own():
    effect = np.arange(3.0)
    shares = variance_shares(np.broadcast_to(effect[:, None, None, None], (3, 2, 2, 4)))
    assert shares["instruction"] == pytest.approx(1)
    assert sum(map(abs, shares.values())) == pytest.approx(1)
    assert set(variance_shares(np.ones((3, 2, 2, 4))).values()) == {0.0}


def test_label_words_differ_and_instructions_list_them():
    emotions = ("angry", "happy", "sad", "made-up")
    synonyms = LABEL_WORDS["synonyms"](emotions)
    assert synonyms == {"angry": "anger", "happy": "happiness", "sad": "sadness", "made-up": "made-up"}
    assert list(LABEL_WORDS["letters"](emotions).values()) == ["A", "B", "C", "D"]
    assert instruction_with("One of: {listed}.", synonyms) == "One of: anger, happiness, sadness, made-up."
    for kind in LABEL_WORDS.values():
        assert len(set(kind(tuple(NAMES)).values())) == len(NAMES)


@pytest.mark.parametrize("wrong", [[""], ["  ", "a"], ["a", "a"]])
def test_empty_and_repeated_instructions_are_refused(wrong):
    with pytest.raises(UserError, match="one is empty, or occurs twice"):
        instructions_of(wrong)


def test_too_many_emotions_for_letters_are_refused():
    with pytest.raises(UserError, match="more than there are letters"):
        LABEL_WORDS["letters"](tuple(f"emotion-{number}" for number in range(27)))


@pytest.fixture
def reader(toy_corpus, toy_episodes) -> Reader:
    return Reader(toy_episodes.episodes, toy_corpus.emotions)


def test_every_wording_is_measured_and_compared_with_the_own_one(
    reader, toy_corpus, toy_episodes_path, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "build_method", lambda name, context: reader)
    icl_controls(
        toy_corpus.folder, toy_episodes_path, tmp_path / "models", tmp_path / "out", orders=1, wordings=True
    )
    found = json.loads((tmp_path / "out" / "controls.json").read_text())["wordings"]
    rows = {(row["instruction"], row["label_words"]): row for row in found["rows"]}
    assert list(rows) == [(text, kind) for text in INSTRUCTIONS for kind in LABEL_WORDS]
    assert rows["own", "names"]["differences"] == {}
    losses = {wording: row["metrics"]["log_loss"]["mean"] for wording, row in rows.items()}
    assert losses["own", "names"] == losses["own", "synonyms"] < losses["short", "names"]
    assert losses["own", "letters"] == losses["short", "letters"] == max(losses.values())
    worse = rows["short", "names"]["differences"]["log_loss"]
    assert worse["mean"] == pytest.approx(losses["short", "names"] - losses["own", "names"])
    assert 0 < worse["low"] <= worse["mean"] <= worse["high"]
    shares = found["shares"]["log_loss"]
    parts = ("instruction", "label words", "both", "order", "episode", "rest")
    assert sum(shares[part] for part in parts) == pytest.approx(1)
    assert shares["order"] == pytest.approx(0, abs=1e-9)
    assert shares["wording"]["mean"] == pytest.approx(
        shares["instruction"] + shares["label words"] + shares["both"]
    )
    assert shares["wording"]["low"] <= shares["wording"]["mean"] <= shares["wording"]["high"]
    assert shares["label words"] > shares["instruction"] > 0
    assert shares["best_minus_worst"] == pytest.approx(max(losses.values()) - min(losses.values()))
    page = (tmp_path / "out" / "controls.md").read_text()
    assert "## Wordings of the prompt" in page
    assert page.count("| letters |") == 3


def test_own_instructions_take_the_place_of_ours(reader):
    worded = dict(worded_methods(reader, instructions_of(["Say {listed}!"])))
    assert len(worded) == 2 * len(LABEL_WORDS)
    assert worded["instruction 1", "letters"].instruction.startswith("Say A, B")


def test_instructions_without_wordings_and_methods_without_a_prompt_are_refused(
    toy_corpus, toy_episodes_path, tmp_path
):
    where = (toy_corpus.folder, toy_episodes_path, tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match="does not read every support"):
        icl_controls(*where, method="random", wordings=True)
    with pytest.raises(UserError, match="the method has no prompt"):
        list(worded_methods(None, INSTRUCTIONS))


def test_instructions_need_wordings(reader, toy_corpus, toy_episodes_path, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "build_method", lambda name, context: reader)
    with pytest.raises(UserError, match="compared with --wordings true only"):
        icl_controls(toy_corpus.folder, toy_episodes_path, tmp_path, tmp_path / "out", instructions=["a"])
