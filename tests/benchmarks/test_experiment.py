"""`perser experiment` from start to end: the quickstart on the toy corpus, small enough for a test."""

from __future__ import annotations

import csv
import json
import shutil
import time
from itertools import product

import pytest

from benchmarks import task_sharing
from benchmarks.ceiling import measure
from benchmarks.experiment import experiment
from benchmarks.experiments.options import QUICKSTART, read_experiment
from benchmarks.linear_probe import linear_probe
from benchmarks.results_page import results_page
from benchmarks.run import METHODS, bench
from perser.cli.main import main
from perser.errors import UserError
from perser.io.checksums import weights_sha256

SMALL = {
    "workers": 0,  # starting one takes longer than what it could do here
    "draw.k": 32,
    "draw.q": 8,
    "draw.seeds": 2,
    "draw.split.folds": 3,
    "draw.split.validation_persons": 2,
    "draw.split.validation_groups": 0,  # validation uses training utterances, of which the toy has few
    "pretrain.epochs": 2,
    "pretrain.head_size": 16,
    "pretrain.adaptation_steps": 3,
    "meta_train.inner.steps": 2,
    "meta_train.inner.query": 8,
    "meta_train.inner.adaptation_steps": 3,
    "meta_train.outer.steps": 4,
    "meta_train.outer.batch_size": 2,
    "icl_train.steps": 4,
    "icl_train.batch_size": 2,
    "icl_train.validation_sequences": 2,
}


READ_SSL_E = {"entire-zero", "prior-shift", "bias-scale", "entire-few", "head-few"}


def small(root, out, *more):
    """Options that make the quickstart small, and read the corpus in `root`."""
    options = [word for key, value in SMALL.items() for word in (f"--{key}", str(value))]
    corpus = ["--prepare.corpus", "manifest", "--prepare.root", str(root), "--out", str(out)]
    return [*corpus, *options, *more]


def run_small(root, out, *more):
    experiment(**read_experiment(QUICKSTART, *small(root, out, *more)))


@pytest.fixture(scope="module")
def manifest(toy_corpus, tmp_path_factory):
    path = tmp_path_factory.mktemp("manifest") / "toy.csv"
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "speaker", "listener", "emotions"])
        for annotation in toy_corpus.annotations:
            recording = toy_corpus.recordings.path(annotation.utterance_id)
            speaker = toy_corpus.utterances[annotation.utterance_id].speaker
            rows.writerow([recording, speaker, annotation.listener, ";".join(annotation.emotions)])
    return path


@pytest.fixture(scope="module")
def finished(manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "toy"
    run_small(manifest, out)
    return out


def test_every_method_is_measured_on_every_episode(finished):
    results = json.loads((finished / "results.json").read_text())
    assert [row["method"] for row in results["rows"]] == list(METHODS)
    assert len({(row["episodes"], row["persons"]) for row in results["rows"]}) == 1
    for row in results["rows"]:
        assert {"maF1", "miF1", "label_accuracy", "balanced_accuracy"} <= row["metrics"].keys()
        for metric in row["metrics"].values():
            assert metric["low"] - 1e-9 <= metric["mean"] <= metric["high"] + 1e-9
    compared = {(pair["a"], pair["b"], pair["metric"]) for pair in results["differences"]}
    assert ("meta-perser", "entire-few", "maF1") in compared
    assert ("speech-lm-32", "speech-lm-0", "maF1") in compared


def test_a_difference_is_the_difference_of_the_means(finished):
    results = json.loads((finished / "results.json").read_text())
    means = {row["method"]: row["metrics"] for row in results["rows"]}
    for pair in results["differences"]:
        a, b = (means[pair[side]][pair["metric"]]["mean"] for side in ("a", "b"))
        assert pair["mean"] == pytest.approx(a - b, abs=1e-9)


def test_the_report_loads_nothing_from_elsewhere(finished):
    page = (finished / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "src=" not in page.replace('src="data:', "")
    assert (finished / "report.md").read_text().startswith("# ")
    assert list((finished / "plots").glob("*.png"))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("meta_train.inner.query", "2000", r"inner\.query: .* examples a listener are more than"),
        ("icl_train.prompt.instruction", "listen " * 5000, "but the language model's context has"),
    ],
)
def test_options_that_the_corpus_is_too_small_for_are_refused_before_the_first_training(
    option, value, message, manifest, tmp_path, capsys
):
    with pytest.raises(UserError, match=message):
        run_small(manifest, tmp_path / "run", f"--{option}", value)
    messages = capsys.readouterr().err
    assert "episodes: started" in messages
    assert "train: started" not in messages
    assert not (tmp_path / "run" / "models").exists()


def test_finished_stages_are_skipped_and_changed_ones_run_again(finished, manifest, capsys):
    before = (finished / "results.json").read_bytes()
    run_small(manifest, finished)
    assert capsys.readouterr().err.count("finished before, skipped") == 6
    assert (finished / "results.json").read_bytes() == before
    methods = ["--bench.methods", "[random, entire-zero]"]
    run_small(manifest, finished, *methods)
    messages = capsys.readouterr().err
    assert messages.count("finished before, skipped") == 3, "and what no method needs is not trained"
    assert "train" not in messages.replace("pretrain", "")
    rows = json.loads((finished / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["random", "entire-zero"]
    run_small(manifest, finished)


def test_a_quick_look_leaves_what_was_trained_and_measured(finished, manifest, tmp_path, capsys):
    """`perser bench` with a few methods and episodes of an experiment does not remove the rest of it."""
    keys = {"base": QUICKSTART} | SMALL
    keys |= {"prepare.corpus": "manifest", "prepare.root": str(manifest), "out": str(finished)}
    file = tmp_path / "toy.yaml"
    file.write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))
    before = {path: path.stat().st_mtime_ns for path in finished.glob("predictions/*/*")}
    records = {path.name for path in (finished / "stages").iterdir()}
    capsys.readouterr()
    bench(experiments=[file], out=tmp_path / "look", methods=["random", "entire-zero"], limit=2)
    rows = json.loads((tmp_path / "look" / "results.json").read_text())["rows"]
    assert [(row["method"], row["episodes"]) for row in rows] == [("random", 2), ("entire-zero", 2)]
    assert {path.name for path in (finished / "stages").iterdir()} == records
    bench(experiments=[file], out=tmp_path / "whole")
    started = [line for line in capsys.readouterr().err.splitlines() if line.endswith(": started")]
    assert started == ["bench: started"] * 2, "scores are put together anew, nothing is trained"
    assert {path: path.stat().st_mtime_ns for path in finished.glob("predictions/*/*")} == before
    rows = json.loads((tmp_path / "whole" / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == list(METHODS)


def ceilings(run):
    return {file.name: file.read_text() for file in run.glob("ceiling-*.json")}


def test_what_the_annotations_say_is_measured_once(manifest, tmp_path, monkeypatch):
    measured = []
    measure_corpus = measure.measure_corpus
    monkeypatch.setattr(
        measure, "measure_corpus", lambda corpus: measured.append(corpus.name) or measure_corpus(corpus)
    )
    run_small(manifest, tmp_path / "run", "--bench.methods", "[entire-zero]")
    assert len(measured) == len(ceilings(tmp_path / "run")) == 1


def test_the_same_seed_gives_the_same_results_except_for_times_also_with_a_worker(
    finished, manifest, tmp_path, monkeypatch, capsys
):
    """This process waits until the worker has taken a model, then the next one, and later a cell."""
    monkeypatch.setattr(task_sharing, "num_cores", lambda: 2)
    out, waited = tmp_path / "shared", []
    take_tasks = task_sharing._take_tasks

    def take_tasks_after_worker(task, taken, done):
        deadline = time.monotonic() + 120
        while not taken.value:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        waited.append(len(done))
        take_tasks(task, taken, done)

    monkeypatch.setattr(task_sharing, "_take_tasks", take_tasks_after_worker)
    run_small(manifest, out, "--workers", "1")
    assert ceilings(out) == ceilings(finished)
    early = 2 * len(READ_SSL_E)
    assert waited == [2, 2 + early, 2 * len(METHODS) - early], (
        "SSL-E beside the ceiling; two models beside the methods on SSL-E, twice each; the other methods"
    )
    assert "meta-train: started" not in capsys.readouterr().err, "the worker shows nothing"
    contents = [json.loads((run / "results.json").read_text()) for run in (finished, out)]
    for content in contents:
        for row in content["rows"]:
            del row["seconds_personalize"], row["seconds_predict"]
    assert contents[0] == contents[1]


def test_the_model_of_a_single_method_is_trained_in_a_stage_of_its_own(manifest, tmp_path, capsys):
    """The stage does not run again when other methods are listed."""
    out = tmp_path / "toy"
    methods = ["random", "linear-few", "multi-few"]
    wanted = ["--bench.methods", f"[{', '.join(methods)}]"]
    run_small(manifest, out, *wanted)
    assert {folder.name for folder in (out / "models").iterdir()} == {"linear", "multi"}
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == methods
    assert [row["adapts"].get("scope") for row in rows] == [None, "head", "linears"]
    capsys.readouterr()
    run_small(manifest, out, "--bench.methods", "[random, multi-few]")
    stages = [line for line in capsys.readouterr().err.splitlines() if "finished before" in line]
    assert [line.split(":")[0] for line in stages] == ["prepare", "episodes", "pretrain multi"]


def test_models_are_trained_with_several_seeds_and_what_is_finished_stays(manifest, tmp_path, capsys):
    out = tmp_path / "toy"
    methods = ["--bench.methods", "[random, entire-zero, prior-shift]"]
    run_small(manifest, out, *methods)
    alone = {row["method"]: row for row in json.loads((out / "results.json").read_text())["rows"]}
    weights = weights_sha256(out / "models" / "ssl-e")
    capsys.readouterr()
    run_small(manifest, out, *methods, "--train_seeds", "[0, 5]")
    lines = capsys.readouterr().err.splitlines()
    started = [line.removesuffix(": started") for line in lines if line.endswith(": started")]
    assert started == ["bench", "train-seed-5 pretrain", "train-seed-5 bench"]
    assert {file.parent.name for file in (out / "train-seed-5" / "predictions").glob("*/*")} == {
        "entire-zero",
        "prior-shift",
    }
    assert weights_sha256(out / "models" / "ssl-e") == weights
    assert weights_sha256(out / "train-seed-5" / "models" / "ssl-e") != weights
    rows = {row["method"]: row for row in json.loads((out / "results.json").read_text())["rows"]}
    assert "over_seeds" not in rows["random"]
    for name in ("entire-zero", "prior-shift"):
        over_seeds, mean = rows[name]["over_seeds"], rows[name]["metrics"]["log_loss"]["mean"]
        assert over_seeds["seeds"] == [0, 5]
        first, second = over_seeds["means"]["log_loss"]
        assert first == pytest.approx(alone[name]["metrics"]["log_loss"]["mean"])
        assert first != second
        assert mean == pytest.approx((first + second) / 2)
        assert over_seeds["deviation"]["log_loss"] == pytest.approx(abs(first - second) / 2**0.5)
    assert "(2 seeds)" in (out / "report.md").read_text()
    assert "**Over trainings**" in (out / "report.md").read_text()
    capsys.readouterr()
    run_small(manifest, out, *methods, "--train_seeds", "[0, 5]")
    assert "started" not in capsys.readouterr().err
    with pytest.raises(UserError, match=r"train_seeds: \[1, 1\], give each seed once"):
        run_small(manifest, out, *methods, "--train_seeds", "[1, 1]")


def test_a_model_that_no_method_needs_may_be_missing(manifest, tmp_path):
    options = ["--bench.methods", "[random]", "--icl_train.language_model", "/no/such/model"]
    run_small(manifest, tmp_path / "toy", *options)
    rows = json.loads((tmp_path / "toy" / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["random"]


def run_page(folder):
    """Return the page of the only run on a page of results."""
    (page,) = (folder / "results").glob("*.md")
    return page.read_text()


def test_the_results_page_holds_the_runs_figures(finished, tmp_path):
    linear_probe(finished)
    results_page([finished], tmp_path / "RESULTS.md")
    (own,) = (tmp_path / "results").glob("*.md")
    pages = [(tmp_path / "RESULTS.md").read_text(), own.read_text()]
    assert f"(results/{own.name})" in pages[0]
    assert "Who beats whom" in pages[1]
    assert "Who beats whom" not in pages[0]
    results = json.loads((finished / "results.json").read_text())
    for row, page in product(results["rows"], pages):
        assert row["method"].replace("_", "\\_") in page
        assert f"{100 * row['metrics']['maF1']['mean']:.1f}" in page


def test_an_older_run_without_costs_still_has_its_tables(finished, tmp_path):
    """Its results.json has neither an encoder nor q."""
    older = tmp_path / "older"
    shutil.copytree(finished / "stages", older / "stages")
    shutil.copy(finished / "command.txt", older)
    results = json.loads((finished / "results.json").read_text())
    for row in (*results["rows"], *results["differences"]):
        for name in ("encoder", "wilcoxon_q", "by_person", "confusion", "reliability", "parameters"):
            row.pop(name, None)
    (older / "results.json").write_text(json.dumps(results))
    pages = {}
    for run in (finished, older):
        results_page([run], tmp_path / run.name / "RESULTS.md")
        pages[run.name] = run_page(tmp_path / run.name)
    assert "Parameters of one person" in pages[finished.name]
    assert "Parameters of one person" not in pages["older"]
    assert "Who beats whom" in pages["older"]


def test_the_page_has_the_controls_of_a_run(finished, tmp_path):
    run = tmp_path / "run"
    for name in ("results.json", "command.txt", "stages"):
        copy = shutil.copytree if (finished / name).is_dir() else shutil.copy
        run.mkdir(exist_ok=True)
        copy(finished / name, run / name)
    results_page([run], tmp_path / "RESULTS.md")
    assert "another person's" not in run_page(tmp_path)
    metrics = {name: {"mean": 0.4321, "low": 0.4, "high": 0.5} for name in ("maF1", "miF1", "ece")}
    controls = {"method": "speech-lm", "pairs": 8, "persons": 3, "episodes": 6}
    controls |= {"rows": [{"condition": "another person's", "metrics": metrics}]}
    (run / "controls").mkdir()
    (run / "controls" / "controls.json").write_text(json.dumps(controls))
    results_page([run], tmp_path / "RESULTS.md")
    assert "| another person's | 43.2 (40.0–50.0) |" in run_page(tmp_path)  # noqa: RUF001


def test_a_runs_section_is_replaced_and_the_others_stay(finished, tmp_path):
    page = tmp_path / "RESULTS.md"
    results_page([finished], page)
    own = page.read_text()
    other = "## Another run\n\nits figures\n"
    heading = next(line for line in own.splitlines() if line.startswith("## "))
    page.write_text(own.replace(heading, f"{other}\n{heading}").replace("maF1", "old"))
    results_page([finished], page)
    assert page.read_text() == own.replace(heading, f"{other}\n{heading}")


def test_the_page_has_at_most_ten_tables(finished, tmp_path):
    page = tmp_path / "RESULTS.md"
    results_page([finished], page)
    heading = next(line for line in page.read_text().splitlines() if line.startswith("## "))
    head, _, section = page.read_text().partition(heading)
    page.write_text(head + "".join(f"## Run {number}{section}\n" for number in range(12)))
    results_page([finished], page)
    text = page.read_text()
    assert text.count("\n## ") == 13
    assert text.count("\n|---") == 10
    assert text.rpartition("## ")[2].count("[all figures](results/") == 1


def test_the_page_of_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no finished experiment.*results\.json"):
        results_page([tmp_path], tmp_path / "RESULTS.md")


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--pretrain.epohcs=3", "epohcs"),
        ("--meta_train.inner.steps=many", "meta_train.inner.steps"),
        ("--draw.split.fold=9", "fold"),
        ("--meta_train.inner.adaptation_steps=1", "adaptation_steps"),
        ("--threads=0", "threads"),
        ("--draw.q=0", "draw.q"),
        ("--meta_train.scope=tail", "tail"),
        ("--prepare.corpus=nowhere", "nowhere"),
        ("--prepare.root=/no/such/folder", "/no/such/folder"),
        ("--encoder=tiny-whale", "tiny-whale"),
        ("--icl_train.language_model=/no/such/model", "/no/such/model"),
        ("--icl_train.batch_size=0", "batch_size"),
        ("--pretrain.epochs=0", "pretrain.epochs"),
        ("--pretrain.label_smoothing=1", "pretrain.label_smoothing"),
        ("--bench.methods=[speech-lm-64]", "speech-lm-64"),
        ("--bench.methods=['meta-perser:none']", "meta-perser:none"),
        ("--folds=[0, 3]", "folds: [0, 3]"),
        ("--folds=[1, 1]", "folds: [1, 1]"),
        ("--turns=[0]", "--turns is now --folds"),
        ("--sweep_k=[0]", "sweep_k: 0"),
        ("--sweep_k=[16]", "speech-lm-32"),
        ('--ablations={"a": {"lslrr": 1}}', "ablations.a.lslrr"),
        ('--ablations={"a": {"lslr": {"granularities": "off"}}}', "ablations.a.lslr.granularities"),
        ('--ablations={"a": {"lslr": "off"}}', "ablations.a.lslr"),
        ('--ablations={"a": {"lslr": {"granularity": "row"}}}', "granularity"),
        ('--ablations={"a": {"inner": {"steps": 0}}}', "inner.steps"),
        ("--meta_train.csmt=true", "inner.query"),
        ('--ablations={"a": {"csmt": true, "inner": {"query": 8}}}', "ablations.a.inner.query"),
        ('--ablations={"a": {"scope": "tail"}}', "ablations.a.scope"),
        ('--ablations={"a/b": {}}', "a/b"),
    ],
)
def test_a_wrong_key_is_named_before_anything_runs(option, named, manifest, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["experiment", "--config", str(QUICKSTART), *small(manifest, tmp_path / "out"), option])
    assert caught.value.code == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_config_the_files_there_are_are_named(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["experiment"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "configs/cremad_listeners.yaml" in error
    assert "perser quickstart" in error
    assert "bench_" not in error
