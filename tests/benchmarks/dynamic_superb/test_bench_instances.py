"""The row of an instance from answers made by hand, and the command with a tiny model on simulated speech."""

import csv
import json
import re
from dataclasses import replace

import datasets
import jiwer
import pytest
from rich.console import Console
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score

from benchmarks.dynamic_superb import bench_instances
from benchmarks.dynamic_superb.ask import ask_instance
from benchmarks.dynamic_superb.bench_instances import dynamic_superb, load_model, measure_instance
from benchmarks.dynamic_superb.instance import read_instance
from benchmarks.dynamic_superb.results_table import markdown, print_results
from perser.cli.main import main
from perser.errors import UserError

INSTANCES = ("emotion", "same_speaker", "spoken")


def test_answers_made_by_hand_are_counted(emotion):
    """A third is right, a third is always `sad`, and a third is outside the options."""
    instance = read_instance(emotion)
    sizes, answers = [], []

    def answerer(batch):
        sizes.append(len(batch))
        for each in batch:
            place = len(answers)
            label = each.item.label
            answers.append([f" {label.upper()}.", "sad", f"I hear {label}"][place % 3])
        return answers[-len(batch) :]

    row, answered = measure_instance(instance, "classification", answerer, batch_size=5)
    assert sizes == [5, 5, 5, 5, 4]
    labels = [item.label for item in instance.items]
    normalized = [answer.strip(" .").lower() for answer in answers]
    assert (
        row["value"]
        == row["metrics"]["accuracy"]["mean"]
        == pytest.approx(accuracy_score(labels, normalized))
    )
    assert row["outside_options"] == pytest.approx(1 / 3)
    assert (row["items"], row["labels_outside_options"], row["left_out"]) == (24, 0, {})
    assert [each.answer for each in answered] == answers


def test_a_regression_reports_answers_without_a_number(spoken):
    """Two of three answers hold a number; the labels are the row numbers."""
    instance = read_instance(spoken, limit=6)
    numbered = [replace(item, label=str(place)) for place, item in enumerate(instance.items)]
    instance = replace(instance, items=tuple(numbered), metrics=("MSE", "LCC"))
    answers = iter(["about 1", "2.", "none", "2", "6", "?"])
    row, _ = measure_instance(instance, "regression", lambda batch: [next(answers) for _ in batch])
    labels, predicted = [0, 1, 3, 4], [1, 2, 2, 6]
    assert row["metrics"]["pearson"]["mean"] == pytest.approx(pearsonr(labels, predicted).statistic)
    assert (row["metrics"]["mae"]["mean"], row["without_number"]) == (
        pytest.approx(5 / 4),
        pytest.approx(1 / 3),
    )
    page = markdown({"model": "m", "answer": "generate", "rows": [row]})
    assert "names as its metrics: MSE, LCC." in page
    assert "33.3% of the answers hold no number" in page


def test_word_errors_are_counted_over_the_whole_instance(spoken):
    instance = read_instance(spoken)
    row, answered = measure_instance(instance, "generation", lambda batch: ["The bus, here."] * len(batch))
    labels = [each.item.label.lower().strip(".") for each in answered]
    assert row["value"] == pytest.approx(jiwer.wer(labels, ["the bus here"] * len(labels)))
    assert row["outside_options"] is None


def test_an_unusable_recording_is_left_out_and_named(emotion, tmp_path):
    rows = (emotion / "metadata.csv").read_text().replace("data/test", str(emotion / "data/test"))
    first, *_ = rows.splitlines()[1].split(",")
    (tmp_path / "metadata.csv").write_text(rows.replace(first, "broken.wav"))
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    (tmp_path / "instance.json").write_text('{"name": "odd_one"}')
    instance = read_instance(tmp_path, limit=3)
    row, answered = measure_instance(instance, "classification", lambda batch: ["sad"] * len(batch))
    assert (row["items"], len(answered)) == (2, 2)
    assert list(row["left_out"]) == [instance.items[0].file]
    shown = markdown({"model": "m", "answer": "generate", "rows": [row]})
    assert r"- **odd\_one**: 1 items are left out because" in shown
    with pytest.raises(UserError, match=r"odd_one: no recording can be used, such as .*unreadable"):
        ask_instance(read_instance(tmp_path, limit=1), lambda batch: [])


@pytest.fixture(scope="module")
def run(model_folder, tmp_path_factory, request):
    """The command on three instances."""
    out = tmp_path_factory.mktemp("out") / "results"
    given = [f"--instance={request.getfixturevalue(name)}" for name in INSTANCES]
    line = ["dynamic-superb", "--model", str(model_folder), *given, "--out", str(out)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(datasets.config, "HF_DATASETS_CACHE", out.parent / "cache")
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
    items = [item for folder in (emotion, same_speaker, spoken) for item in read_instance(folder, 5).items]
    assert [answer["file"] for answer in answers] == [item.file for item in items]
    for row in results["rows"][:2]:
        mine = [answer for answer in answers if answer["instance"] == row["instance"]]
        assert row["value"] == sum(answer["correct"] == "True" for answer in mine) / 5
        assert row["outside_options"] == sum(answer["within_options"] == "False" for answer in mine) / 5
    assert {answer["within_options"] for answer in answers[10:]} == {""}
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


def test_impossible_options_are_refused_before_a_model_is_loaded(emotion, spoken, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_instances.SpeechLMForICL, "from_pretrained", lambda *_: pytest.fail("loaded"))
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


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_model_is_loaded_for_the_device_where_it_computes(model_folder, device):
    assert load_model(str(model_folder), device).device.type == device
