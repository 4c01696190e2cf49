"""An ablation changes what it names, and nothing else."""

from __future__ import annotations

import pytest

from benchmarks.experiments.ablations import with_ablations
from benchmarks.experiments.options import QUICKSTART, read_experiment
from perser.errors import UserError

META_TRAIN = read_experiment(QUICKSTART)["meta_train"]


def test_an_ablation_differs_only_in_what_it_changes():
    changes = {"no-lslr": {"lslr": {"granularity": False}}, "deep": {"scope": "all", "inner": {"steps": 3}}}
    methods, options = with_ablations(["random", "meta-perser"], META_TRAIN, changes)
    assert methods == ["random", "meta-perser", "meta-perser:no-lslr", "meta-perser:deep"]
    assert list(options) == ["meta-perser", "meta-perser-no-lslr", "meta-perser-deep"]
    assert options["meta-perser"] == META_TRAIN
    assert options["meta-perser-no-lslr"]["lslr"].granularity == "off"
    assert options["meta-perser-deep"]["inner"].steps == 3
    assert options["meta-perser-deep"]["inner"].rate == META_TRAIN["inner"].rate
    for model, differing in (("meta-perser-no-lslr", {"lslr"}), ("meta-perser-deep", {"scope", "inner"})):
        assert {key for key, value in options[model].items() if value != META_TRAIN[key]} == differing


def test_a_listed_ablation_keeps_its_place():
    methods, _ = with_ablations(["meta-perser:plain", "random"], META_TRAIN, {"plain": {}})
    assert methods == ["meta-perser:plain", "random"]


def test_an_ablation_may_use_aliases_and_dotted_names():
    changes = {"b": {"lr": None, "outer": {"learning_rate": 0.25}}}
    with pytest.raises(UserError, match=r"ablations\.b\.outer\.learning_rate: .* is given twice"):
        with_ablations(["meta-perser"], META_TRAIN, changes)
    _, options = with_ablations(
        ["meta-perser"], META_TRAIN, {"b": {"lr": 0.5, "inner.steps": 3, "bf16": True}}
    )
    assert options["meta-perser-b"]["outer"].learning_rate == 0.5
    assert options["meta-perser-b"]["inner"].steps == 3
    assert options["meta-perser-b"]["mixed_precision"] == "bf16"
