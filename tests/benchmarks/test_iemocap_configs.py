"""The paper's protocol from start to end: the files in configs/ on a miniature IEMOCAP, reduced in size."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from benchmarks.experiment import experiment
from benchmarks.experiments.options import read_experiment
from benchmarks.measuring.scores import Scores
from benchmarks.results_page import results_page
from benchmarks.run import bench
from perser.episodes.episode_file import EpisodeFile

from ..perser.corpora.readers.miniature_iemocap import write_iemocap

CONFIGS = Path(__file__).parents[2] / "configs"
REDUCED = {
    "threads": 1,
    "folds": "[0, 1]",
    "draw.k": 4,
    "draw.q": 8,
    "draw.seeds": 2,
    "pretrain.epochs": 1,
    "pretrain.head_size": 8,
    "pretrain.adaptation_steps": 1,
    "pretrain.lora": "lora:2",
    "meta_train.inner.steps": 2,
    "meta_train.inner.support": 4,
    "meta_train.inner.adaptation_steps": 2,
    "meta_train.outer.steps": 1,
    "meta_train.outer.batch_size": 2,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature in which each evaluator E1 to E5 has at least 16 utterances in every session."""
    folder = tmp_path_factory.mktemp("iemocap") / "IEMOCAP_full_release"
    write_iemocap(folder, dialogs=4, turns=8, seconds=0.3)
    return folder


@pytest.fixture(autouse=True)
def few_plots(monkeypatch):
    """Draw only the plot by K, and coarsely: the others are tested elsewhere, and would take long here."""
    monkeypatch.setattr("benchmarks.reporting.canvas.DPI", 30)
    monkeypatch.setattr("benchmarks.reporting.comparisons.plots", lambda rows, differences: [])


def run(config: str, encoder: str, root: Path, out: Path, **changed: object) -> dict:
    places = {"prepare.root": root, "cache": root.parent / "cache", "out": out, "encoder": encoder}
    options = [f"--{key}={value}" for key, value in {**REDUCED, **places, **changed}.items()]
    experiment(**read_experiment(CONFIGS / f"{config}.yaml", *options))
    return json.loads((out / "results.json").read_text())


@pytest.mark.parametrize(
    ("config", "encoder"),
    [
        pytest.param(
            f"iemocap_{scenario}_{family}",
            f"tiny-{family}",
            # Each scenario and each family is tested always; all six together take a minute longer.
            marks=[] if (scenario == "seen") == (family == "wavlm") else pytest.mark.soak,
        )
        for scenario in ("seen", "unseen")
        for family in ("wav2vec2", "hubert", "wavlm")
    ],
)
def test_table_1(config, encoder, root, tmp_path):
    results = run(config, encoder, root, tmp_path)
    assert [row["method"] for row in results["rows"]] == [
        *("random", "nothing", "most-frequent", "linear-few", "entire-few", "entire-zero", "multi-few"),
        *("entire-sim", "prior-shift", "bias-scale", "head-few", "lora-few", "meta-perser"),
    ]
    page = (tmp_path / "paper_tables.md").read_text()
    assert "Measured differently than in the paper (corpus iemocap, K = 4, Q = 8)" in page
    assert f"| Upstream | {encoder} | | |" in page
    shown = re.findall(r"^\| Meta-PerSER \| ([\d.]+) \|", page, re.MULTILINE)
    assert shown == [f"{100 * results['rows'][-1]['metrics']['maF1']['mean']:.1f}"]
    drawn = [EpisodeFile.load(tmp_path / f"fold-{fold}" / "episodes.json") for fold in (0, 1)]
    tested = [episodes.split.persons["test"] for episodes in drawn]
    assert tested[1] == drawn[0].split.persons["validation"]
    assert {(row["persons"], row["episodes"], row["k"]) for row in results["rows"]} == {(2, 4, 4)}
    for episodes in drawn:
        persons = episodes.split.persons
        assert len(persons["test"]) == len(persons["validation"]) == 1
        assert {*persons["test"], *persons["validation"]} < {f"E{number}" for number in range(1, 6)}
        # The miniature has ten actors who label; the paper's corpus has six, hence nine persons to train on.
        assert len(persons["train"]) == 3 + 10
        sessions = {
            part: {utterance[3:5] for utterance in episodes.split.utterances[part]}
            for part in ("train", "validation", "test")
        }
        first, last = {"01", "02", "03", "04"}, {"05"}
        if episodes.scenario == "unseen":
            assert sessions == {"train": first - {"01"}, "validation": {"01"}, "test": last}
        else:
            assert sessions == dict.fromkeys(sessions, first | last)


def test_table_2(root, tmp_path):
    """Two of its rows, besides the one with all four parts."""
    ablations = {
        "none": {"init": "encoder", "csmt": False, "lslr": {"granularity": "off"}},
        "ini-csmt": {"lslr": {"granularity": "off"}},
    }
    methods = "[random, meta-perser]"
    results = run(
        "ablation_unseen",
        "tiny-wavlm",
        root,
        tmp_path,
        ablations=json.dumps(ablations),
        **{"bench.methods": methods},
    )
    assert [row["method"] for row in results["rows"]] == [
        *("random", "meta-perser", "meta-perser:none", "meta-perser:ini-csmt"),
    ]
    compared = {(pair["a"], pair["b"]) for pair in results["differences"]}
    assert ("meta-perser:ini-csmt", "meta-perser:none") in compared
    models = {path.name for path in (tmp_path / "fold-0" / "models").iterdir()}
    assert models == {"ssl-e", "meta-perser", "meta-perser-none", "meta-perser-ini-csmt"}
    lines = (tmp_path / "tables" / "paper_table_2.tex").read_text().splitlines()
    measured = [line.partition(" &")[0] for line in lines if re.search(r"& \d+\.\d ", line)]
    assert measured == ["none", "INI + CSMT", "INI + CSMT + DA + LSLR"]
    results_page([tmp_path], tmp_path / "RESULTS.md")
    (own,) = (tmp_path / "results").glob("*.md")
    page = own.read_text()
    assert "| meta-perser:ini-csmt | meta-perser:none |" in page
    stages = re.search(r"this run's machine \((.*)\)\.", page)[1]
    assert re.sub(r" (< )?[\d.]+ \w+", "", stages) == (
        "prepare, episodes, pretrain, meta-train, meta-train-none, meta-train-ini-csmt, bench"
    )


def test_figure_2(root, tmp_path):
    changed = {"sweep_k": "[2, 6]", "bench.methods": "[random, entire-zero, prior-shift]"}
    results = run("sweep_k", "tiny-wavlm", root, tmp_path, **changed)
    assert [(row["k"], row["method"]) for row in results["rows"]] == [
        (k, method) for k in (2, 4, 6) for method in ("random", "entire-zero", "prior-shift")
    ]
    files = [tmp_path / "fold-0" / f"episodes{name}.json" for name in ("-k2", "", "-k6")]
    for small, main, large in zip(*(EpisodeFile.load(file).episodes for file in files), strict=True):
        assert small.query_utterances == main.query_utterances == large.query_utterances
        assert large.support.first(4) == main.support
        assert large.support.first(2) == small.support
    zero = [row["metrics"]["maF1"] for row in results["rows"] if row["method"] == "entire-zero"]
    assert zero[0] == zero[1] == zero[2]  # it does not read the support, and the queries are the same
    assert len(list((tmp_path / "plots").glob("*-by-k.png"))) == 1
    assert "-by-k.png" in (tmp_path / "report.md").read_text()
    assert Scores.load(tmp_path / "fold-0" / "scores-k2.json").k == 2


def test_experiments_that_overlap_give_one_table(root, tmp_path):
    """As with Table 1, Table 2 and Figure 2: a method that is measured twice counts once."""
    methods = {
        "one": ["random", "entire-zero"],
        "more": ["random", "entire-zero", "prior-shift"],
        "sweep": ["entire-zero", "random"],
    }
    files = [tmp_path / f"{name}.yaml" for name in methods]
    for file in files:
        keys = {**REDUCED, "folds": [0], "sweep_k": [6] if file.stem == "sweep" else []}
        keys |= {
            "prepare.root": str(root),
            "cache": str(root.parent / "cache"),
            "out": str(tmp_path / file.stem),
        }
        keys |= {"encoder": "tiny-wavlm", "title": file.stem, "bench.methods": methods[file.stem]}
        file.write_text(yaml.safe_dump({"base": str(CONFIGS / "base" / "iemocap.yaml")} | keys))
    bench(experiments=files, out=tmp_path / "all", title="All")
    results = json.loads((tmp_path / "all" / "results.json").read_text())
    assert [(row["k"], row["method"], row["episodes"]) for row in results["rows"]] == [
        *((4, method, 2) for method in ("random", "entire-zero", "prior-shift")),
        *((6, method, 2) for method in ("entire-zero", "random")),
    ]
    first = json.loads((tmp_path / "one" / "fold-0" / "scores.json").read_text())["methods"][1]["episodes"]
    mean = sum(episode["metrics"]["maF1"] for episode in first) / len(first)
    assert results["rows"][1]["metrics"]["maF1"]["mean"] == pytest.approx(mean, abs=1e-9)
    assert any(
        "the first listed counts (iemocap, seen, tiny-wavlm, K = 4)" in note
        for note in results["meta"]["notes"]
    )
    assert (tmp_path / "all" / "paper_tables.html").exists()


PAPERS_WAY = {
    "pretrain.standardize": True,
    "pretrain.dropout": 0,
    "pretrain.mask_time": 0,
    "pretrain.head_learning_rate": 0.001,
    "meta_train.lslr.relative": True,
    "meta_train.outer.rates_learning_rate": 0.1,
}
"""Every key of the paper's file, with the value that the other files have."""


@pytest.fixture(scope="module")
def to_the_letter(root, tmp_path_factory) -> tuple[dict, Path]:
    """The paper's file on the miniature, and the folder of its models."""
    out = tmp_path_factory.mktemp("paper")
    return run("base/iemocap_paper", "tiny-wav2vec2", root, out, folds="null"), out / "models"


def test_the_papers_file_measures_table_1(to_the_letter):
    results, _ = to_the_letter
    methods = [row["method"] for row in results["rows"]]
    assert methods[3:] == [
        *("linear-few", "entire-few", "entire-zero", "multi-few", "entire-sim"),
        *("meta-perser", "meta-perser+last"),
    ]


def test_the_papers_file_sets_every_deviation_that_has_a_key():
    ours, papers = (
        read_experiment(CONFIGS / "base" / f"{name}.yaml") for name in ("iemocap", "iemocap_paper")
    )
    for key, value in PAPERS_WAY.items():
        stage, *path = key.split(".")
        of_ours, of_papers = ours[stage], papers[stage]
        for name in path:
            of_ours, of_papers = (
                one[name] if isinstance(one, dict) else getattr(one, name) for one in (of_ours, of_papers)
            )
        assert of_ours == value
        assert of_papers != value


@pytest.mark.parametrize("key", PAPERS_WAY)
def test_each_key_of_the_papers_file_takes_effect(key, to_the_letter, root, tmp_path):
    _, models = to_the_letter
    changed = {"folds": "null", key: PAPERS_WAY[key], "bench.methods": "[linear-few, meta-perser]"}
    run("base/iemocap_paper", "tiny-wav2vec2", root, tmp_path, **changed)
    # Linear-Few's model is the only one of the miniature with a head alone.
    name = "linear" if key == "pretrain.head_learning_rate" else "meta-perser/last"
    file = "rates.safetensors" if key.startswith("meta_train") else "recogniser.safetensors"
    assert differ(models / name / file, tmp_path / "models" / name / file)


def differ(first: Path, second: Path) -> bool:
    """Return whether two files of weights have different values or shapes."""
    one, other = load_file(first), load_file(second)
    return any(not torch.equal(one[name], other[name]) for name in one)
