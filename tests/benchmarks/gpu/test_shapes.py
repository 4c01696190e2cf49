"""Real shapes: tiny ones run on the CPU, and those of a GPU are built without one."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from transformers import AutoModelForCausalLM, Wav2Vec2Config, Wav2Vec2Model

from benchmarks.gpu import language_models, precisions, shapes
from benchmarks.gpu.findings import run_check
from benchmarks.gpu.language_models import SEVEN_BILLION
from benchmarks.gpu.precisions import products_in, seen_in
from benchmarks.speed.maml import ours
from benchmarks.speed.maml.case import make_case
from benchmarks.speed.maml.presets import TINY
from benchmarks.speed.speechlm.prompt_case import llama_config
from benchmarks.speed.speechlm.prompt_presets import SMOLLM2_135M
from benchmarks.speed.timing.comparison import Row, Timing
from meta_perser.adaptation import adjoint
from meta_perser.recognizer.clip_batch import ClipBatch, bucketed


@pytest.mark.parametrize("part", [shapes, language_models])
def test_every_check_of_the_tiny_shapes_runs_on_the_cpu(part, on_cpu):
    findings = [run_check("part", name, check) for name, check in part.checks(on_cpu)]
    assert {finding.check: finding.text for finding in findings if finding.status == "failed"} == {}
    assert all("need a GPU" in finding.text or "needs" in finding.text for finding in findings)
    assert not any(finding.figures for finding in findings)


@pytest.fixture
def timing() -> Timing:
    """A peer of 4 s and ours of 1 s with 10^12 operations."""
    peer, own = Row("higher", [4.0], 10**12), Row("ours", [1.0], 10**12)
    return Timing("step", [peer, own], own, [], {"step_vs_higher": 4.0}, {"higher": 1e-3})


@pytest.mark.parametrize(("target", "passed"), [(3.0, True), (5.0, False)])
def test_on_a_gpu_a_ratio_has_to_reach_its_target(target, passed, timing, on_gpu, monkeypatch):
    monkeypatch.setattr(precisions, "matrix_rate", lambda device, precision: 2e12)
    seen = seen_in(timing, on_gpu, "bf16", {"step_vs_higher": target})
    assert seen.passed == passed
    assert seen.figures["utilization"] == 0.5
    assert seen.figures["times_the_floor"] == 2.0
    assert ("too low: step_vs_higher (at least 5)" in seen.text) == (not passed)


def test_tf32_is_on_within_the_block_alone():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    for precision, expected in (("tf32", True), ("float32", False), ("bf16", False)):
        with products_in(precision):
            assert torch.backends.cuda.matmul.allow_tf32 is expected
            assert torch.backends.cudnn.allow_tf32 is expected
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_on_a_gpu_the_encoder_is_wav2vec2_base(on_gpu):
    preset = shapes.preset_of(on_gpu)
    with torch.device("meta"):
        network = Wav2Vec2Model(Wav2Vec2Config(**preset.encoder))
    assert network.num_parameters() == 94_371_712
    assert (preset.memory_clips, preset.adapt_clips, preset.steps, preset.memory_steps) == (32, 32, 5, 20)


@pytest.mark.parametrize(("sizes", "billions"), [(SMOLLM2_135M, 0.135), (SEVEN_BILLION, 6.6)])
def test_on_a_gpu_language_models_have_their_sizes(sizes, billions, on_gpu):
    preset = language_models.preset_of(on_gpu, sizes, 1, 1)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(llama_config(preset))
    assert model.num_parameters() / 1e9 == pytest.approx(billions, rel=0.01)
    assert (preset.pairs, preset.queries) == (32, 128)


class ReadyBatch:
    """A ClipSource whose clips are encoded already."""

    def __init__(self, batch: ClipBatch) -> None:
        self._batch = batch

    def batch(self, utterances) -> ClipBatch:
        return self._batch


@pytest.mark.parametrize("memory", ["unroll", "adjoint"])
def test_a_step_beside_the_cpu_mixes_no_devices(memory, monkeypatch):
    """On the device `meta`, which has shapes alone, and where a tensor of the CPU would be an error."""
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())  # meta has none
    monkeypatch.setattr(adjoint, "_current_autocast", lambda device_type: {})
    case = make_case(TINY, clips=3, device="meta")
    frames = bucketed([torch.zeros(rows, *TINY["conv_dim"][-1:]) for rows in (20, 20, 200)])
    batch = ClipBatch(torch.zeros(3, 0, TINY["hidden_size"]), frames).to(torch.device("meta"))
    gradients = ours.outer_gradients(case, ReadyBatch(batch), 2, memory)
    assert {gradient.device.type for gradient in gradients} == {"meta"}
    assert [gradient.shape for gradient in gradients] == [weight.shape for weight in case.moving]


def test_on_a_gpu_bf16_is_measured_first(on_gpu):
    names = [name for name, _ in shapes.checks(on_gpu)]
    assert names[0] == "second-order step, bf16"
    assert {"our step alone, S = 5, tf32", "our step alone, S = 50, bf16", "peak memory, bf16"} <= {*names}
    assert {"answers, 7B shapes", "answers, 7B shapes, 4-bit"} <= {
        name for name, _ in language_models.checks(on_gpu)
    }
