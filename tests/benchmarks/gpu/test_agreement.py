"""A device agrees with itself, and what does not agree is found."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.gpu import agreement
from benchmarks.gpu.agreement import FLOAT32, checks, pretrain_gradients, same_gradients, within
from benchmarks.gpu.findings import run_check


def test_every_check_passes_where_both_devices_are_the_cpu(on_cpu):
    findings = [run_check("agreement", name, check) for name, check in checks(on_cpu)]
    assert {finding.check: finding.text for finding in findings if finding.status != "passed"} == {}
    for training in ("pretrain", "meta-train, unroll", "meta-train, adjoint", "icl-train"):
        assert {f"gradients of {training}, {p}" for p in ("float32", "bf16")} <= {f.check for f in findings}
    distances = [f.figures["distance"] for f in findings if f.check.endswith("float32")]
    assert distances == [0.0] * 4


def test_gradients_in_bf16_differ_from_those_in_float32():
    """So the second run really is another one."""
    seen = same_gradients(pretrain_gradients, "cpu", "bf16", FLOAT32)
    assert not seen.passed
    assert seen.figures["distance"] > FLOAT32


def test_a_device_that_computes_something_else_is_found():
    def gradients(device, precision):
        return [torch.ones(3) * (1.0 if device == "cpu" else 1.001)]

    compare = partial(same_gradients, gradients, precision="float32", tolerance=FLOAT32)
    assert compare("cpu").passed
    assert not compare("other").passed


def test_a_distance_that_is_no_number_does_not_pass():
    assert not within(float("nan"), 1.0, "distance").passed


def test_an_enrollment_that_changes_nothing_does_not_pass(on_cpu, monkeypatch):
    monkeypatch.setattr(agreement, "_moved", lambda prediction: 0.0)
    seen = agreement.same_answers(agreement.save_speech_lm, on_cpu.folder, "cpu")
    assert not seen.passed
    assert "changes no answer" in seen.text
