"""An ablation changes what it names, and nothing else."""

from __future__ import annotations

import pytest

from benchmarks.experiments.ablations import with_ablations
from benchmarks.experiments.options import CONFIGS, QUICKSTART, read_experiment
from meta_perser.adaptation.step_schedule import second_order_steps
from meta_perser.options import AnnealingOptions, LslrOptions
from meta_perser.variants import VARIANTS
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


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("file", ["quickstart", "base/iemocap"])
def test_every_known_variant_changes_what_its_name_says(name, file):
    path = QUICKSTART if file == "quickstart" else CONFIGS / f"{file}.yaml"
    meta_train = read_experiment(path)["meta_train"]
    methods, options = with_ablations([f"meta-perser:{name}+last", f"meta-perser:{name}"], meta_train, {})
    assert methods == [f"meta-perser:{name}+last", f"meta-perser:{name}"]
    chosen = options[f"meta-perser-{name}"]
    inner, lslr = chosen["inner"], chosen["lslr"]
    assert inner.adaptation_steps == 50
    assert inner.solver == ("proximal" if name == "proximal" else "steps")
    if name == "paper":
        assert (inner.steps, inner.query, chosen["csmt"], lslr) == (5, None, True, LslrOptions())
        assert chosen["derivative_annealing"] == AnnealingOptions(by="inner_steps", share=0.3)
    elif name == "schedule":
        assert (inner.steps, lslr.granularity) == (50, "schedule")
    elif name == "fomaml":
        assert not any(second_order_steps(chosen["derivative_annealing"], inner.steps, progress=0.9))
    elif name == "reptile":
        assert (chosen["outer"].update, lslr.granularity) == ("reptile", "off")
    elif name == "anil":
        assert inner.moves == "classifier"


def test_the_files_own_ablation_goes_before_a_variant_of_its_name():
    _, options = with_ablations(["meta-perser:anil"], META_TRAIN, {"anil": {"inner": {"steps": 3}}})
    assert options["meta-perser-anil"]["inner"].steps == 3
    assert options["meta-perser-anil"]["inner"].moves == "scope"


def test_an_unknown_variant_is_refused_with_those_that_there_are():
    with pytest.raises(UserError, match=r"'meta-perser:papper' is none of .*meta-perser:paper"):
        with_ablations(["meta-perser:papper"], META_TRAIN, {})
