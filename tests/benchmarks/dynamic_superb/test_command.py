"""Answers made by hand, counted; and the command with a tiny model on instances of simulated speech."""

import csv
import json
import re
from dataclasses import replace

import jiwer
import pytest
from rich.console import Console
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score

from benchmarks.dynamic_superb import command
from benchmarks.dynamic_superb.answers import ask
from benchmarks.dynamic_superb.command import dynamic_superb, measured_instance
from benchmarks.dynamic_superb.instance import read_instance
from benchmarks.dynamic_superb.page import markdown, print_results
from perser.cli.main import main
from perser.errors import UserError

INSTANCES = ("emotion", "same_speaker", "spoken")


def test_answers_made_by_hand_are_counted(emotion):
    """Every third says something else, every other third is always sad."""
    instance = read_instance(emotion)
    sizes, said = [], []

    def answerer(asked):
        sizes.append(len(asked))
        for one in asked:
            place = len(said)
            label = one.question.label
            said.append([f" {label.upper()}.", "sad", f"I hear {label}"][place % 3])
        return said[-len(asked) :]

    row, answered = measured_instance(instance, "classification", answerer, batch_size=5)
    assert sizes == [5, 5, 5, 5, 4]
    labels = [one.label for one in instance.questions]
    bare = [one.strip(" .").lower() for one in said]
    assert row["value"] == row["metrics"]["accuracy"]["mean"] == pytest.approx(accuracy_score(labels, bare))
    assert row["outside_options"] == pytest.approx(1 / 3)
    assert (row["items"], row["labels_outside_options"], row["left_out"]) == (24, 0, {})
    assert [one.answer for one in answered] == said


def test_a_regression_says_what_it_could_not_measure(spoken):
    """Two of three answers hold a number; its labels are the numbers of the rows."""
    instance = read_instance(spoken, limit=6)
    numbered = [replace(one, label=str(place)) for place, one in enumerate(instance.questions)]
    instance = replace(instance, questions=tuple(numbered), metrics=("MSE", "LCC"))
    answers = iter(["about 1", "2.", "none", "2", "6", "?"])
    row, _ = measured_instance(instance, "regression", lambda asked: [next(answers) for _ in asked])
    labels, said = [0, 1, 3, 4], [1, 2, 2, 6]
    assert row["metrics"]["pearson"]["mean"] == pytest.approx(pearsonr(labels, said).statistic)
    assert (row["metrics"]["mae"]["mean"], row["without_number"]) == (
        pytest.approx(5 / 4),
        pytest.approx(1 / 3),
    )
    page = markdown({"model": "m", "answer": "generate", "rows": [row]})
    assert "names as its metrics: MSE, LCC." in page
    assert "33.3% of the answers hold no number" in page


def test_words_are_counted_over_the_whole_instance(spoken):
    instance = read_instance(spoken)
    row, answered = measured_instance(instance, "generation", lambda asked: ["The bus, here."] * len(asked))
    labels = [one.question.label.lower().strip(".") for one in answered]
    assert row["value"] == pytest.approx(jiwer.wer(labels, ["the bus here"] * len(labels)))
    assert row["outside_options"] is None


def test_a_recording_that_cannot_be_used_is_left_out_and_named(emotion, tmp_path):
    rows = (emotion / "metadata.csv").read_text().replace("data/test", str(emotion / "data/test"))
    first, *_ = rows.splitlines()[1].split(",")
    (tmp_path / "metadata.csv").write_text(rows.replace(first, "broken.wav"))
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    (tmp_path / "instance.json").write_text('{"name": "odd_one"}')
    instance = read_instance(tmp_path, limit=3)
    row, answered = measured_instance(instance, "classification", lambda asked: ["sad"] * len(asked))
    assert (row["items"], len(answered)) == (2, 2)
    assert list(row["left_out"]) == [instance.questions[0].file]
    shown = markdown({"model": "m", "answer": "generate", "rows": [row]})
    assert r"- **odd\_one**: 1 items are left out" in shown
    with pytest.raises(UserError, match=r"odd_one: no recording can be used, such as .*unreadable"):
        ask(read_instance(tmp_path, limit=1), lambda asked: [])


@pytest.fixture(scope="module")
def run(model_folder, tmp_path_factory, request):
    """The command on three instances."""
    out = tmp_path_factory.mktemp("out") / "results"
    given = [f"--instance={request.getfixturevalue(name)}" for name in INSTANCES]
    line = ["dynamic-superb", "--model", str(model_folder), *given, "--out", str(out)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("datasets.config.HF_DATASETS_CACHE", out.parent / "cache")
        main([*line, "--limit", "5", "--batch-size", "2", "--max-new-tokens", "4"])
    return out


def test_the_command_writes_what_a_tiny_model_answers(run, emotion, same_speaker, spoken):
    results = json.loads((run / "results.json").read_text())
    assert [(row["kind"], row["metric"], row["items"]) for row in results["rows"]] == [
        ("classification", "accuracy", 5),
        ("classification", "accuracy", 5),
        ("generation", "wer", 5),
    ]
    with (run / "answers.csv").open(newline="") as stream:
        answers = list(csv.DictReader(stream))
    asked = [one for at in (emotion, same_speaker, spoken) for one in read_instance(at, 5).questions]
    assert [one["file"] for one in answers] == [one.file for one in asked]
    for row in results["rows"][:2]:
        mine = [one for one in answers if one["instance"] == row["instance"]]
        assert row["value"] == sum(one["correct"] == "True" for one in mine) / 5
        assert row["outside_options"] == sum(one["within_options"] == "False" for one in mine) / 5
    assert {one["within_options"] for one in answers[10:]} == {""}
    page = (run / "report.md").read_text()
    assert page.count("\n| ") == 4
    for row in results["rows"]:
        shown = row["instance"].replace("_", r"\_")
        assert re.search(rf"^\| {re.escape(shown)} \| {row['kind']} \| .* \| 5 \| ", page, re.MULTILINE)
    assert "names as its metrics" not in page


def test_the_terminal_shows_every_instance(run):
    results = json.loads((run / "results.json").read_text())
    results["rows"][0]["metrics"] |= {"pearson": {"mean": None, "low": None, "high": None}}
    console = Console(record=True, width=80)
    print_results(results, console)
    shown = console.export_text()
    for row in results["rows"]:
        assert row["instance"][:9] in shown
    assert re.search(r"Pearson +│ +– +│", shown)  # noqa: RUF001
    assert max(map(len, shown.splitlines())) <= 80


def test_what_cannot_work_is_refused_before_a_model_is_loaded(emotion, spoken, tmp_path, monkeypatch):
    monkeypatch.setattr(command.SpeechLMForICL, "from_pretrained", lambda *_: pytest.fail("loaded"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    for message, instances, options in (
        ("limit is 0", [emotion], {"limit": 0}),
        ("two instances have the name 'EmotionRecognition_Simulated'", [emotion, emotion], {}),
        ("only a classification's options can be scored", [emotion, spoken], {"answer": "score"}),
        ("its label '.*' is no number", [emotion], {"kind": "regression"}),
        ("holds no answers.csv", [emotion], {"out": tmp_path / "mine"}),
        ("is no instance", [tmp_path], {}),
    ):
        with pytest.raises(UserError, match=message):
            dynamic_superb("m", instances, **({"out": tmp_path / "out"} | options))
    assert not (tmp_path / "out").exists()
