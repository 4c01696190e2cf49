"""Options of meta-training: values that are refused, and `off` in YAML."""

from __future__ import annotations

import pytest

from meta_perser.options import (
    AnnealingOptions,
    InnerOptions,
    LslrOptions,
    MultiStepOptions,
    OuterOptions,
    check_rates,
)
from meta_perser.train import meta_train
from perser.cli.parser import parse_command
from perser.errors import UserError


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: InnerOptions(steps=0), r"inner\.steps"),
        (lambda: InnerOptions(query=0), r"inner\.query"),
        (lambda: InnerOptions(rate=-0.1), r"inner\.rate"),
        (lambda: OuterOptions(learning_rate=-1.0), r"outer\.learning_rate"),
        (lambda: OuterOptions(rates_learning_rate=-1.0), r"outer\.rates_learning_rate"),
        (lambda: InnerOptions(steps=5, adaptation_steps=3), r"inner\.adaptation_steps"),
        (lambda: OuterOptions(batch_size=0), r"outer\.batch_size"),
        (lambda: OuterOptions(patience=0), r"outer\.patience"),
        (lambda: OuterOptions(clip_norm=0), r"outer\.clip_norm"),
        (lambda: LslrOptions(granularity="off", sign="positive"), r"lslr\.sign"),
        (lambda: LslrOptions(granularity="off", beyond="mean"), r"lslr\.beyond"),
        (lambda: LslrOptions(granularity="off", relative=False), r"lslr\.relative"),
        (lambda: LslrOptions(sign="positive", relative=False), r"lslr\.relative"),
        (lambda: AnnealingOptions(share=1.5), r"derivative_annealing\.share"),
        (lambda: MultiStepOptions(epochs=0), r"multi_step_loss\.epochs"),
    ],
)
def test_an_impossible_value_is_refused_with_its_key(make, key):
    with pytest.raises(ValueError, match=key):
        make()


def test_a_bare_off_in_yaml_means_off(tmp_path):
    """YAML 1.1 reads a bare `off` as false."""
    file = tmp_path / "options.yaml"
    file.write_text("derivative_annealing:\n  by: off\nlslr:\n  granularity: off\n")
    needed = [f"--{name}=x" for name in ("corpus", "episodes", "ssl_e", "out")]
    values = parse_command(meta_train, ["--config", str(file), *needed])
    assert values["derivative_annealing"] == AnnealingOptions(by="off")
    assert values["lslr"] == LslrOptions(granularity="off")


def test_a_schedule_is_refused_for_more_steps_than_it_is_trained_with():
    schedule = LslrOptions(granularity="schedule")
    check_rates(InnerOptions(steps=50, adaptation_steps=50), OuterOptions(), schedule)
    check_rates(InnerOptions(steps=5, adaptation_steps=50), OuterOptions(), LslrOptions())
    with pytest.raises(UserError, match=r"inner\.adaptation_steps: 50, but lslr\.granularity: schedule"):
        check_rates(InnerOptions(steps=5, adaptation_steps=50), OuterOptions(), schedule)


def test_reptile_learns_no_rates():
    reptile = OuterOptions(update="reptile")
    check_rates(InnerOptions(), reptile, LslrOptions(granularity="off"))
    with pytest.raises(UserError, match=r"lslr\.granularity: tensor, but outer\.update: reptile"):
        check_rates(InnerOptions(), reptile, LslrOptions())
