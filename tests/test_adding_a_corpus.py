"""The worked example of docs/adding_a_corpus.md is listed and prepared, as a package of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from perser.corpora.corpus import Corpus

from .perser.corpora.readers.tones import write_tone
from .worked_example import WorkedExample

EXAMPLE = WorkedExample.of("adding_a_corpus.md")
RATINGS = "clip,rater,emotion\nc1,r1,happy\nc1,r2,calm\nc2,r1,furious\nc3,r1,angry\nc9,r1,angry\n"


def test_the_example_is_listed_and_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    for number, speaker in enumerate(("anna", "anna", "bo"), start=1):
        write_tone(Path(f"data/porch/clips/{speaker}/c{number}.wav"), pitch=200 + 50 * number)
    Path("data/porch/ratings.csv").write_text(RATINGS)
    EXAMPLE.run(tmp_path / "site-packages", monkeypatch)
    printed = capsys.readouterr().out
    assert "\nporch\n    what:    talk on porches, 3 emotions; each rater's own labels\n" in printed
    corpus = Corpus.load(Path("runs/porch/corpus"))
    assert [(row.utterance_id, row.listener, row.emotions) for row in corpus.annotations] == [
        ("c1", "r1", ("happy",)),
        ("c1", "r2", ("calm",)),
        ("c3", "r1", ("angry",)),
    ]
    assert {row.speaker for row in corpus.utterances.values()} == {"anna", "bo"}
    assert (corpus.card["source"], corpus.card["license"]) == ("https://example.org/porch", "CC-BY-4.0")
    assert corpus.card["left_out"] == [
        ["ratings.csv:4", "unknown emotion 'furious'"],
        ["c9", "annotated, but there is no recording"],
        ["c2", "nobody annotated it"],
    ]


def test_the_example_is_formatted_as_the_code_is(tmp_path: Path):
    EXAMPLE.check_format(tmp_path)
