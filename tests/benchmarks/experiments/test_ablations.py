"""What a variant changes, and nothing else."""

from __future__ import annotations

from benchmarks.experiment import experiment
from benchmarks.experiments.ablations import with_ablations
from perser.cli.main import parse_command

META_TRAIN = parse_command(experiment, [])["meta_train"]


def test_a_variant_differs_in_what_it_says_alone():
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


def test_a_variant_that_is_listed_keeps_its_place():
    methods, _ = with_ablations(["meta-perser:plain", "random"], META_TRAIN, {"plain": {}})
    assert methods == ["meta-perser:plain", "random"]
