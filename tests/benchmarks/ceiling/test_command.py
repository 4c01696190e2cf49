"""`perser ceiling` writes pages and figures, and says what it cannot compute."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.ceiling.measure import measure_corpora
from benchmarks.reporting import canvas
from benchmarks.reporting.report import write_report
from perser.cli.main import main
from perser.corpora.corpus import write_corpus
from perser.corpora.listing import Annotation, Listing, Utterance

EMOTIONS = ("angry", "happy", "neutral")


@pytest.fixture(autouse=True)
def coarse_plots(monkeypatch):
    monkeypatch.setattr(canvas, "DPI", 30)


@pytest.fixture
def prepare(toy_corpus, tmp_path):
    """A function that writes a corpus with these answers, (utterance, listener, emotions)."""
    ids = toy_corpus.recordings.utterance_ids

    def write(rows):
        annotations = [Annotation(ids[utterance], listener, words) for utterance, listener, words in rows]
        utterances = [
            Utterance(name, str(toy_corpus.recordings.path(name)), "speaker", "1")
            for name in sorted({row.utterance_id for row in annotations})
        ]
        listing = Listing("answers", EMOTIONS, tmp_path, utterances, annotations, "tests", "none")
        return write_corpus(listing, tmp_path / "corpus").folder

    return write


def answers(names, utterances=24):
    rng = np.random.default_rng(0)
    heard = np.repeat(EMOTIONS, utterances // 3)
    return [
        (utterance, name, (heard[utterance] if rng.random() < 0.7 else EMOTIONS[rng.integers(3)],))
        for name in names
        for utterance in range(utterances)
    ]


def run(*options):
    main(["ceiling", *map(str, options)])


def test_the_pages_and_the_figures_are_written(toy_corpus, tmp_path, capsys):
    run("--corpus", toy_corpus.folder, "--out", tmp_path / "out", "--json", tmp_path / "new" / "figures.json")
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / "new" / "figures.json").read_text())
    assert content == json.loads((tmp_path / "out" / "ceiling.json").read_text())
    assert content["distance"] == "MASI"
    assert {"3", "10", "31"} <= content["ceiling"].keys()
    for value in (
        content["alpha"],
        *content["ceiling"].values(),
        *(rung["gain"] for rung in content["ladder"]),
    ):
        assert value["low"] <= value["mean"] <= value["high"]
    assert [rung["name"] for rung in content["ladder"]] == ["bias", "reliability", "construal", "confusion"]
    assert [point["k"] for point in content["curve"]] == [4, 8, 16, 32, 64]
    assert content["sentence"].startswith("Your 12 listeners")
    assert (tmp_path / "out" / "ceiling.png").read_bytes().startswith(b"\x89PNG")
    page = re.sub(r"data:image/[^\"]*", "", (tmp_path / "out" / "ceiling.html").read_text())  # no pictures
    for text in (page, (tmp_path / "out" / "ceiling.md").read_text(), printed):
        assert "Simulated data" in text
        assert "Gained with K labels" in text
        assert "nan" not in text.lower()
    assert "http" not in page


def test_every_run_gives_the_same_figures(prepare, tmp_path):
    """Another process has another order of sets."""
    folder = prepare(answers(["a", "b"], utterances=12))
    for number in "01":
        run_elsewhere = [sys.executable, "-m", "benchmarks.ceiling.command", "--corpus", str(folder)]
        file = tmp_path / f"{number}.json"
        environment = os.environ | {"PYTHONHASHSEED": number}
        subprocess.run([*run_elsewhere, "--json", str(file)], check=True, env=environment)
    assert (tmp_path / "0.json").read_text() == (tmp_path / "1.json").read_text()


def test_votes_without_listeners_have_no_ladder_and_the_page_says_so(prepare, tmp_path, capsys):
    folder = prepare(answers([f"unknown-{number}" for number in range(5)]))
    run("--corpus", folder, "--out", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "ceiling.json").read_text())
    assert content["ladder"] is content["curve"] is content["listeners"] is None
    assert content["alpha"]["mean"] > 0.2
    for text in (capsys.readouterr().out, (tmp_path / "out" / "ceiling.html").read_text()):
        assert "cannot be computed" in text
        assert "the ladder" in text


def test_listeners_with_one_comparable_answer_have_no_ladder(prepare, tmp_path):
    folder = prepare([(0, "a", ("angry",)), (0, "b", ("angry",)), (1, "c", ("angry",)), (1, "d", ("happy",))])
    run("--corpus", folder, "--json", tmp_path / "figures.json")
    content = json.loads((tmp_path / "figures.json").read_text())
    assert content["ladder"] is None
    assert content["not_computed"].startswith("Fewer than two known listeners")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (answers(["me"]), "fewer than two listeners (me)"),
        ([(0, "a", ("angry",)), (1, "b", ("happy",))], "no utterance that two listeners labeled"),
        ([(n, name, ("angry",)) for n in range(3) for name in "ab"], "one label only"),
    ],
)
def test_nothing_to_compare_is_one_line(rows, message, prepare, tmp_path, capsys):
    folder = prepare(rows)
    with pytest.raises(SystemExit) as ended:
        run("--corpus", folder, "--out", tmp_path / "out")
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert message in line
    assert str(folder) in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("option", "message"), [("--out", "is a file"), ("--json", "is a folder")])
def test_a_place_that_cannot_be_written_is_named_first(option, message, toy_corpus, tmp_path, capsys):
    place = tmp_path / "place"
    place.touch() if option == "--out" else place.mkdir()
    with pytest.raises(SystemExit):
        run("--corpus", toy_corpus.folder, option, place)
    assert message in capsys.readouterr().err


def test_a_report_says_what_can_be_learned_and_measures_a_corpus_once(prepare, tmp_path):
    folder = prepare(answers(["a", "b", "c"]))
    (content,) = measure_corpora([folder, folder], tmp_path / "out")
    (file,) = (tmp_path / "out").glob("ceiling-*.json")
    file.write_text(json.dumps(content | {"sentence": "As it was."}))
    ceilings = measure_corpora([folder], tmp_path / "out")
    assert ceilings[0]["sentence"] == "As it was."
    paths = write_report({}, tmp_path / "report", ceilings=ceilings)
    for text in (paths.html.read_text(), paths.markdown.read_text()):
        assert "What can be learned of listeners: answers" in text
        assert "reliability" in text


def test_a_report_of_a_single_listener_has_no_such_section(prepare, tmp_path):
    assert measure_corpora([prepare(answers(["intended"]))], tmp_path) == []
