"""The script runs and all contenders compute the same. No assertion is about seconds."""

from __future__ import annotations

import importlib.util
import json
import math
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from benchmarks.speed.maml import adaptation, ours, run_comparisons
from benchmarks.speed.maml.adaptation import check_adaptation, compare_adaptations
from benchmarks.speed.maml.case import MamlCase, make_case
from benchmarks.speed.maml.noise import LONGEST, SHORTEST, clip_lengths
from benchmarks.speed.maml.padded import (
    HookFreeRecognizer,
    PaddedRecognizer,
    encoded_without_padding,
    padded_batch,
)
from benchmarks.speed.maml.peers import higher_gradients, plain_maml_gradients
from benchmarks.speed.maml.presets import PRESETS, TINY
from benchmarks.speed.maml.step import compare_steps, encodings_per_draw
from benchmarks.speed.meta_perser import PresetName, speed_meta_perser
from benchmarks.speed.timing.comparison import TOLERANCE, check_agreement, halve_until_it_fits
from benchmarks.speed.timing.operations import count_operations
from benchmarks.speed.timing.rounds import distance, peak_by_contender, time_in_rounds
from perser.errors import UserError

RATIOS = [
    "step_vs_higher",
    "step_vs_plain_maml",
    "peak_memory_vs_higher",
    "adapt_vs_finetune",
    "head_adapt_vs_finetune",
    *(
        f"{scope}_{what}_vs_by_hand"
        for scope in ("head", "top_layers", "all")
        for what in ("adapt", "meta_step")
    ),
    "head_steps_vs_proximal",
]


@pytest.fixture(scope="module")
def case() -> MamlCase:
    return make_case(TINY, clips=3, device="cpu")


def test_the_script_writes_finite_ratios_of_every_kind(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run_comparisons, "BASE", TINY)  # wav2vec2-base itself would take long
    speed_meta_perser(preset="tiny", json=tmp_path / "speed.json")
    figures = json.loads((tmp_path / "speed.json").read_text())
    assert list(figures["ratios"]) == RATIOS
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in figures["ratios"].values())
    assert set(figures["front_end_share"]) == {"this encoder", "wav2vec2-base"}
    printed = capsys.readouterr().out
    assert all(name in printed for name in RATIOS)


def test_an_error_says_that_higher_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install higher"):
        speed_meta_perser(preset="tiny")


@pytest.mark.parametrize("memory", ["unroll", "adjoint"])
def test_ours_and_theirs_give_the_same_outer_gradients(case, memory, tmp_path):
    got = ours.outer_gradients(case, ours.encode(case, tmp_path), 2, memory)
    batch = padded_batch(case)
    with encoded_without_padding(case.model, case.lengths):
        plain = plain_maml_gradients(PaddedRecognizer(case.model), batch, case, 2)
        higher = higher_gradients(HookFreeRecognizer(case.model), batch, case, 2)
    assert distance(got, plain) < 1e-5
    assert distance(got, higher) < 1e-5
    assert len(got) == len(case.moving)


def test_only_the_padding_in_the_front_end_makes_the_timed_outputs_differ(case):
    """The front-end's group norm sees the padding: that is why results are compared without it."""
    model, batch = PaddedRecognizer(case.model), padded_batch(case)
    longest = max(range(3), key=case.lengths.__getitem__)
    padded = model(*batch)
    with encoded_without_padding(case.model, case.lengths):
        unpadded = model(*batch)
    again = model(*batch)
    torch.testing.assert_close(padded[longest], unpadded[longest], rtol=1e-4, atol=1e-6)
    assert (padded - unpadded).abs().max() > 1e-5
    assert torch.equal(padded, again)


@pytest.mark.parametrize("scope", ["all", "head"])
def test_ours_and_plain_fine_tuning_move_the_weights_alike(scope):
    case = make_case(TINY, clips=3, device="cpu", scope=scope)
    before = [parameter.detach().clone() for parameter in case.moving]
    (far,) = check_adaptation(case, steps=3).values()
    assert far < TOLERANCE
    assert all(map(torch.equal, case.moving, before))


def test_different_results_are_refused():
    check_agreement({"higher": TOLERANCE / 2})
    for far in (2 * TOLERANCE, math.nan):
        with pytest.raises(RuntimeError, match="ours and higher"):
            check_agreement({"higher": far})


def test_a_system_that_does_not_tell_memory_is_refused():
    with pytest.raises(UserError, match="peak memory on a CPU is read from /proc/self"):
        peak_by_contender(lambda name: None, ["ours"], (), "cuda")  # in this process


def test_half_as_many_clips_are_tried_if_memory_runs_out():
    tried = []

    def run(clips):
        tried.append(clips)
        if clips > 8:
            raise torch.OutOfMemoryError
        return clips

    assert halve_until_it_fits(32, run) == 8
    assert tried == [32, 16, 8]
    with pytest.raises(torch.OutOfMemoryError):
        halve_until_it_fits(1, lambda clips: run(9))


def test_every_contender_is_timed_once_in_every_round():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in "ab"}
    taken = time_in_rounds(runs, 3, torch.device("cpu"))
    assert order == ["a", "b"] * 3
    assert {name: len(rounds) for name, rounds in taken.items()} == {"a": 3, "b": 3}


def test_a_step_counts_more_operations_the_more_often_it_encodes(case):
    timing = compare_steps(case, steps=1, rounds=1)
    left_out, once, anew = timing.rows[2:]
    assert timing.ours is once
    assert left_out.operations < once.operations < anew.operations
    assert 0 < encodings_per_draw() < 1


def test_seconds_of_all_steps_are_in_proportion_to_those_run(monkeypatch):
    """Ours takes 0.5 s for encoding, 1 s once, and 2 s a step; fine-tuning takes 10 s a step."""
    case = make_case(TINY, clips=2, device="cpu")
    seconds = {"theirs": [20.0], "no step": [1.0], "ours": [5.0], "encoding": [0.5]}
    monkeypatch.setattr(adaptation, "time_in_rounds", lambda *_: seconds)
    timing = compare_adaptations(case, PRESETS["tiny"], {})
    assert [row.seconds for row in timing.rows] == [40.0, 9.0, 9.5]
    assert timing.ratios == {"adapt_vs_finetune": pytest.approx(40 / 9.5)}


@pytest.mark.parametrize("groups", [1, 4])
def test_operations_of_a_convolution_and_its_gradients(groups):
    inputs = torch.randn(2, 8, 30, requires_grad=True)
    weight = torch.randn(8, 8 // groups, 5, requires_grad=True)
    forward = 2 * 2 * 8 * 30 * (8 // groups) * 5
    assert count_operations(lambda: F.conv1d(inputs, weight, padding=2, groups=groups)) == forward
    output = F.conv1d(inputs, weight, padding=2, groups=groups).sum()
    assert count_operations(lambda: torch.autograd.grad(output, [inputs, weight])) == 2 * forward


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_operations_of_a_linear_layer(mode):
    layer, inputs = torch.nn.Linear(3, 5), torch.randn(2, 7, 3)
    with mode():
        assert count_operations(lambda: layer(inputs)) == 2 * 2 * 7 * 3 * 5


def test_clips_are_as_long_as_iemocaps():
    lengths = clip_lengths(1000)
    assert lengths == sorted(lengths)
    assert sum(lengths) / 1000 == pytest.approx(4.5, rel=0.02)
    assert min(lengths) >= SHORTEST
    assert max(lengths) <= LONGEST


def test_an_error_says_that_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(is_available=lambda: False))
    with pytest.raises(UserError, match="--device cpu"):
        speed_meta_perser(preset="tiny", device="cuda")


def test_every_preset_is_an_option_of_the_command():
    assert set(PRESETS) == set(get_args(PresetName))
