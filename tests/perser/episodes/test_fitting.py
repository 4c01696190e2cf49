"""Small corpora get a split that works, or an error whose options work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from perser.cli.episodes import episodes
from perser.cli.parser import parse_command
from perser.corpora.corpus import Corpus, write_corpus
from perser.corpora.listing import INTENDED, Annotation, Listing, Utterance
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError

EMOTIONS = ("angry", "happy", "sad")


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    soundfile.write(folder / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(3200), 16_000)
    return folder


def new_corpus(audio: Path, folder: Path, clips: int, listeners: int, speakers: int, acted: bool) -> Corpus:
    names = [f"clip-{number:03d}" for number in range(clips)]
    heard_by = [INTENDED] if acted else [f"listener-{number}" for number in range(listeners)]
    listing = Listing(
        name="small",
        emotions=EMOTIONS,
        audio_root=audio,
        utterances=[
            Utterance(name, "a.wav", f"speaker-{number % speakers}", "1") for number, name in enumerate(names)
        ],
        annotations=[
            Annotation(name, listener, (EMOTIONS[number % 3],))
            for listener in heard_by
            for number, name in enumerate(names)
        ],
        source="made by the tests",
        license="none",
    )
    return write_corpus(listing, folder / "corpus")


SMALL = [
    (20, 1, 1, False),
    (20, 1, 3, False),
    (20, 2, 2, False),
    (20, 3, 1, False),
    (20, 3, 3, False),
    (5, 3, 2, False),
    (2, 1, 1, False),
    (30, 1, 3, True),
    (60, 1, 8, True),
    (80, 8, 8, False),
    (200, 3, 2, False),
    (100, 12, 12, False),
]
"""Clips, listeners, speakers, and whether the one listener is what the actor meant."""


@pytest.mark.parametrize(("clips", "listeners", "speakers", "acted"), SMALL)
def test_a_small_corpus_gets_a_split_that_works(clips, listeners, speakers, acted, audio, tmp_path, capsys):
    corpus = new_corpus(audio, tmp_path, clips, listeners, speakers, acted)
    episodes(corpus.folder, tmp_path / "episodes.json")
    drawn = EpisodeFile.load(tmp_path / "episodes.json")
    assert drawn.episodes
    assert drawn.k + drawn.q <= clips
    printed = capsys.readouterr().out
    assert f"K={drawn.k}, Q={drawn.q}\n  a small corpus: drawn with --" in printed
    everyone = {row.listener for row in corpus.annotations}
    if acted:
        everyone = {row.speaker for row in corpus.utterances.values()}
    if drawn.scenario.startswith("test-"):
        assert {episode.person for episode in drawn.episodes} == everyone
        assert "for models trained on another corpus" in printed
        with pytest.raises(UserError, match="are a test set, with no one to train on"):
            drawn.training_tasks(corpus)
    else:
        assert drawn.training_tasks(corpus)
        assert drawn.validation_episodes
    if to_train := re.search("to train on it as well: (.*)", printed):
        draw(corpus, tmp_path, shlex.split(to_train[1]))
        assert EpisodeFile.load(tmp_path / "episodes.json").training_tasks(corpus)


@pytest.mark.parametrize(("clips", "listeners", "speakers", "acted"), SMALL)
@pytest.mark.parametrize(
    "options",
    [
        "--k 8 --q 16",
        "--q 4",
        "--split.scenario seen",
        "--split.scenario speaker --split.fold 3",
        "--split.folds 10 --split.validation_groups 5",
        "--mode missing",
    ],
)
def test_the_options_that_an_error_names_work(options, clips, listeners, speakers, acted, audio, tmp_path):
    corpus, given = new_corpus(audio, tmp_path, clips, listeners, speakers, acted), shlex.split(options)
    try:
        draw(corpus, tmp_path, given)
        return
    except UserError as error:
        message = str(error)
    if not (works := re.search("; this works: (.*)$", message)):
        assert clips == 2 or acted  # one episode needs two clips; one label has no others to be missing
        return
    draw(corpus, tmp_path, [*given, *shlex.split(works[1])])


def draw(corpus: Corpus, folder: Path, options: list[str]) -> None:
    """Run `perser episodes` with these options; the last of two that contradict each other counts."""
    where = ["--corpus", str(corpus.folder), "--out", str(folder / "episodes.json")]
    episodes(**parse_command(episodes, [*where, *options]))


def test_a_large_corpus_is_drawn_as_usual(toy_corpus: Corpus, tmp_path: Path, capsys):
    options = ["--k", "8", "--q", "16", "--split.validation_groups", "2", "--split.validation_persons", "2"]
    draw(toy_corpus, tmp_path, options)
    assert "a small corpus" not in capsys.readouterr().out


def test_files_that_must_agree_are_not_changed(toy_corpus: Corpus, tmp_path: Path):
    with pytest.raises(UserError, match="; this works: "):
        draw(toy_corpus, tmp_path, ["--largest_k", "32"])
