"""The model card: its header is valid for the Hub, its figures are those of the run, and it says what is
unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from perser.export.model_card import METRICS, model_card
from perser.export.run_record import RunRecord
from perser.io.model_facts import ModelFacts
from perser.route import Exported

FACTS = ModelFacts("fake", ("angry", "calm"), {})
EXPORTED = Exported("It hears.", 'load("MODEL")', {}, bases={"a/encoder": "0123", "b/language": None})


def row(method, route="fake", value=0.5):
    metrics = {name: {"mean": value, "low": value - 0.04, "high": value + 0.03} for name in METRICS}
    where = {"corpus": "somewhere", "scenario": "unseen", "person_axis": "listener", "k": 32, "persons": 7}
    return where | {"method": method, "route": route, "metrics": metrics}


def record(simulated=False, corpus="owner/corpus", **more):
    card = {"name": corpus, "source": "a site", "license": "its own", "simulated": simulated} | more
    rows = (row("fake-8", value=0.61234), row("random", "trivial"))
    return RunRecord(card, (12, "listener"), {"simulated": simulated}, rows, "")


def test_results_of_an_earlier_version_have_no_log_loss():
    older = record()
    for each in older.rows:
        each["metrics"] = {name: each["metrics"][name] for name in ("maF1", "miF1")}
    text = model_card(FACTS, EXPORTED, older, "mine")
    assert "| fake-8, somewhere, unseen | 32 | 7 | 61.2 (57.2 to 64.2) | 61.2 (57.2 to 64.2) |" in text
    assert "The log loss was not measured." in text
    assert "not measured" not in model_card(FACTS, EXPORTED, record(), "mine")


def test_the_hub_reads_the_header():
    card = ModelCard(model_card(FACTS, EXPORTED, record(), "mine", None, "mit", ("en",)))
    assert (card.data.license, card.data.language, card.data.datasets) == ("mit", ["en"], ["owner/corpus"])
    assert (card.data.pipeline_tag, card.data.library_name) == ("audio-classification", "perser")
    assert card.data.base_model == ["a/encoder", "b/language"]
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_type) == ("f1", 0.6123, "somewhere")
    other = replace(EXPORTED, task="audio-text-to-text")
    assert ModelCard(model_card(FACTS, other, record(), "mine")).data.pipeline_tag == "audio-text-to-text"
    bare = ModelCard(model_card(FACTS, Exported("", "", {}), RunRecord(), "mine")).data
    assert bare.license is bare.language is bare.datasets is bare.base_model is bare.eval_results is None


def test_results_are_shown_with_intervals_and_the_trivial_methods():
    text = model_card(FACTS, EXPORTED, record(), "mine")
    assert (
        "| fake-8, somewhere, unseen | 32 | 7 | 0.612 (0.572 to 0.642) | +0.612 (+0.572 to +0.642) | 61.2"
        in text
    )
    assert (
        "| random, somewhere, unseen | 32 | 7 | 0.500 (0.460 to 0.530) | +0.500 (+0.460 to +0.530) | 50.0"
        in text
    )
    assert "| Log loss | Gain in nats | Gain share | AUROC | Average precision | Macro-F1 |" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {len(METRICS) + 4}
    assert "Not measured" not in text
    assert "[a/encoder](https://huggingface.co/a/encoder) at commit `0123`, [b/language]" in text


def test_the_card_says_what_is_unknown():
    text = model_card(FACTS, EXPORTED, RunRecord(unmeasured="nobody did"), "mine")
    assert "Not measured: nobody did." in text
    assert "Unknown: no record of its training was found." in text
    assert "None is given for these weights" in text


@pytest.mark.parametrize("simulated", [True, False])
def test_only_simulated_data_is_called_simulated(simulated):
    text = model_card(FACTS, EXPORTED, record(simulated), "mine")
    assert ("simulated**" in text) == simulated
    assert ("Trained on simulated speech or simulated listeners." in text) == simulated
    assert ("real, not simulated" in text) == (not simulated)
    assert "Trained on 12 of its listeners." in text


@pytest.mark.parametrize(("name", "called"), [(None, "."), ("somebody/mine", "somebody/mine")])
def test_the_code_names_the_model(name, called):
    text = model_card(FACTS, EXPORTED, record(), "mine", name)
    assert f'Recognizer.from_pretrained("{called}")' in text
    assert f"perser predict --model {called} " in text
    assert f'load("{called}")' in text


def test_the_law_and_the_limits_are_on_the_card():
    text = " ".join(model_card(FACTS, EXPORTED, record(), "mine").split())
    for part in ("Article 5(1)(f)", "workplace and in education", "perceived emotions", "have agreed to it"):
        assert part in text
