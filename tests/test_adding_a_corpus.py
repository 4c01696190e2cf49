"""The worked example of docs/adding_a_corpus.md is installed as a package of its own, listed and prepared."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from perser.cli import prepare as prepare_command
from perser.corpora.corpus import Corpus
from perser.corpora.listing import Annotation

from .perser.corpora.readers.tones import write_tone
from .worked_example import WorkedExample

EXAMPLE = WorkedExample.of("adding_a_corpus.md")
PLAIN_READER = """
from perser.io.folders import audio_files
from perser.corpora.listing import Listing, Utterance


def read_plain(root):
    listing = Listing("plain", ("happy", "sad"), root, [], [], "tests", "none")
    for path in audio_files(root, "*/*"):
        listing.add_intended(Utterance(path.stem, str(path), path.parent.name, "1"), "happy")
    return listing
"""
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
    assert list(corpus.annotations) == [
        Annotation("c1", "r1", ("happy",)),
        Annotation("c1", "r2", ("calm",)),
        Annotation("c3", "r1", ("angry",)),
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


def test_an_entry_point_may_name_a_plain_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write_tone(tmp_path / "clips" / "anna" / "c1.wav")
    (tmp_path / "plain_reader.py").write_text(PLAIN_READER)
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("plain", "plain_reader:read_plain", "perser.corpora")
    monkeypatch.setattr(prepare_command, "entry_points", lambda group: [entry])
    prepare_command.list_corpora()
    assert capsys.readouterr().out == "plain\n    no description\n"
    prepare_command.prepare("plain", tmp_path / "out", root=tmp_path / "clips")
    assert list(Corpus.load(tmp_path / "out").annotations) == [Annotation("c1", "intended", ("happy",))]
