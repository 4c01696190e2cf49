"""An experiment that trains on several corpora (`corpora`)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from benchmarks.experiment import experiment
from benchmarks.experiments.options import QUICKSTART, read_experiment
from benchmarks.measuring.cells import Case
from meta_perser.recognizer.model import EmotionRecognizer, saved_settings
from perser.corpora.corpus import Corpus
from perser.encoders.feature_cache import cached_features
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.installed_routes import build_method

from .test_other_corpora import SMALL, entry, write_manifest

METHODS = ["most-frequent", "entire-zero", "meta-perser", "meta-perser+standardize=corpus", "speech-lm-2"]
METHODS += ["speech-lm-2+standardize=corpus"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Tables of corpora: `north` and `south` are trained on, `abroad` is not; `mixed` has one of north's."""
    folder = tmp_path_factory.mktemp("tables")
    north, south = [f"n{number}" for number in range(6)], [f"s{number}" for number in range(6)]
    four, listeners = ("angry", "happy", "neutral", "sad"), ("l1",)
    return {
        "north": write_manifest(folder / "north", north, four, 3, listeners),
        "south": write_manifest(folder / "south", south, ("angry", "sad", "surprise"), 4, ("m1",), 1),
        "abroad": write_manifest(folder / "abroad", ["a1", "a2"], ("angry", "surprise"), 6, ("o1",), 2),
        "strange": write_manifest(folder / "strange", ["a4"], ("calm",), 9, ("o2",), 3),
        "mixed": write_manifest(folder / "mixed", ["a3", "n4"], ("angry", "sad"), 6, ("o3",), 4),
    }


def options(tables, out, corpora, test_on=(), **changes):
    keys = {"base": str(QUICKSTART), "prepare.corpus": None, "out": str(out), "corpora": corpora}
    keys |= {"test_on": list(test_on)} | SMALL | {"draw.split.scenario": "speaker", "bench.methods": METHODS}
    keys |= {"icl_train.standardize": "each", "icl_train.most_labels": 3, "icl_train.label_subsets": 0.5}
    keys |= {"pretrain.standardize": "each", "pretrain.scope": "head", "meta_train.scope": "head"}
    keys |= {"pretrain.frame_window": 1}
    keys |= {name.replace("__", "."): value for name, value in changes.items()}
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(keys))
    return read_experiment(file)


@pytest.fixture(scope="module")
def finished(tables, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    corpora = [entry(tables["north"], weight=2), entry(tables["south"])]
    experiment(**options(tables, out, corpora, [entry(tables["abroad"])]))
    return out


def test_both_routes_are_trained_on_the_joined_corpus_and_measured_on_another(finished):
    rows = json.loads((finished / "results.json").read_text())["rows"]
    assert {row["corpus"] for row in rows} == {"north+south", "manifest"}
    for corpus in ("north+south", "manifest"):
        assert {row["method"] for row in rows if row["corpus"] == corpus} == set(METHODS)
    corpus = Corpus.load(finished / "corpus")
    assert corpus.emotions.names == ("angry", "happy", "neutral", "sad", "surprise")
    assert [(part.name, part.weight) for part in corpus.parts] == [("north", 2.0), ("south", 1.0)]
    persons = {row.speaker.partition("/")[0] for row in corpus.utterances.values()}
    assert persons == {"north", "south"}


def test_the_report_shows_the_joined_corpus_and_the_other_one_side_by_side(finished):
    rows = json.loads((finished / "results.json").read_text())["rows"]
    assert {row["trained_on"] for row in rows} == {"north+south"}
    report = (finished / "report.md").read_text()
    assert "## In-corpus and cross-corpus: Trained on north" in report
    section = report.split("## In-corpus and cross-corpus")[1].split("\n## ")[0]
    heading = next(line for line in section.splitlines() if line.startswith("| Log loss"))
    assert "south: in-corpus" in heading
    assert "manifest: cross-corpus" in heading
    for method in METHODS:
        assert any(line.startswith(f"| {method} |") for line in section.splitlines()), method


def test_ssl_e_and_meta_perser_standardize_by_the_moments_of_each_corpus_on_average(finished):
    """In float64, from the features: the mean over the corpora of each one's training clips."""
    corpus, drawn = Corpus.load(finished / "corpus"), EpisodeFile.load(finished / "episodes.json")
    models = [
        EmotionRecognizer.from_pretrained(finished / "models" / name) for name in ("ssl-e", "meta-perser")
    ]
    assert saved_settings(finished / "models" / "ssl-e")["standardize"] == "each"
    store = cached_features(corpus.recordings, models[0].encoder, "pooled", None)
    trained = sorted({name for task in drawn.training_tasks(corpus) for name in task.utterances})
    means = [
        np.stack([store[name].double().numpy() for name in trained if name.startswith(part)]).mean(axis=0)
        for part in ("north/", "south/")
    ]
    for model in models:
        np.testing.assert_allclose(model.state_mean.numpy(), np.mean(means, axis=0), rtol=1e-3, atol=1e-4)
    assert np.abs(means[0] - means[1]).max() > 1e-3


def test_in_the_joined_corpus_each_person_is_standardized_by_their_own_corpus(finished):
    files = (finished / name for name in ("corpus", "episodes.json", "models", "cache"))
    case = Case(*files, methods=())
    corpus, context = case.loaded_corpus, case.context()
    method = build_method("entire-zero+standardize=corpus", context)
    episodes = [*case.episode_file.episodes, *case.episode_file.validation_episodes]
    for part in {episode.person.partition("/")[0] for episode in episodes}:
        own = [name for name in corpus.utterances if name.startswith(part)]
        episode = next(each for each in episodes if each.person.startswith(part))
        expected = build_method("entire-zero", context).standardized_by(own, 0.0)
        np.testing.assert_allclose(
            method.personalize(episode.support).predict_proba(episode.query_utterances),
            expected.personalize(episode.support).predict_proba(episode.query_utterances),
            atol=1e-6,
        )


def test_finished_stages_are_skipped_and_another_weight_runs_them_again(finished, tables, capsys):
    corpora = [entry(tables["north"], weight=2), entry(tables["south"])]
    experiment(**options(tables, finished, corpora, [entry(tables["abroad"])]))
    assert ": started" not in capsys.readouterr().err
    corpora[0]["weight"] = 1
    experiment(**options(tables, finished, corpora, [entry(tables["abroad"])]))
    started = [line for line in capsys.readouterr().err.splitlines() if line.endswith(": started")]
    assert "prepare: started" in started
    assert "icl-train: started" in started
    assert not any("corpora" in line for line in started)


@pytest.mark.parametrize(
    ("corpora", "test_on", "changes", "message"),
    [
        (["north"], [], {}, "corpora: one corpus, give at least two"),
        (["north", "north"], [], {}, r"corpora: north is given twice"),
        (["north", "mixed"], [], {}, r"corpora: north and mixed have the speaker n4"),
        (["north", "south"], ["strange"], {}, r"strange.*no emotion in common"),
        (["north", "south"], ["mixed"], {}, r"mixed has the speaker n4.*trained on"),
        (["north", "south"], ["south"], {}, r"south is given twice.*trained on"),
        (["north", {"folder": "x", "weight": -1}], [], {}, r"weight: -1"),
        (["north", {"folder": "x", "weihgt": 1}], [], {}, r"corpora\[1\]"),
        (["north", "south"], [], {"prepare__corpus": "manifest"}, "corpora and prepare.corpus"),
        (["north", "south"], [], {"bench__methods": ["oracle"]}, "oracle"),
        (["north", "south"], [], {"pretrain__scope": "all"}, "pretrain.standardize: each"),
        (
            ["north", "south"],
            [],
            {"meta_train__scope": "all", "meta_train__inner__solver": "steps"},
            "scope: all moves layers.*standardize: each",
        ),
        (["north", "/no/such/folder"], [], {}, "/no/such/folder is not a prepared corpus"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_any_work(
    corpora, test_on, changes, message, tables, tmp_path
):
    entries, others = (
        [entry(tables[each]) if str(each) in tables else each for each in group]
        for group in (corpora, test_on)
    )
    with pytest.raises(UserError, match=message) as caught:
        experiment(**options(tables, tmp_path / "run", entries, others, **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
