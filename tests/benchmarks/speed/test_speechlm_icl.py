"""The script runs and all contenders compute the same. No assertion is about seconds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from benchmarks.speed.speechlm import personal_answers, supervised_labels
from benchmarks.speed.speechlm.full_prompt import generate, score_full_prompts
from benchmarks.speed.speechlm.personal_answers import NATS, check_answers, compare_answers, own_scores
from benchmarks.speed.speechlm.prompt_case import PromptCase, make_prompt_case
from benchmarks.speed.speechlm.prompt_presets import PROMPT_PRESETS
from benchmarks.speed.speechlm.supervised_labels import compare_labels, sequences
from benchmarks.speed.speechlm_icl import PromptPresetName, speed_speech_lm
from benchmarks.speed.timing.operations import count_operations
from perser.errors import UserError
from perser.peak_memory import peak_bytes
from speechlm_icl.prompt.prompt import IGNORE
from speechlm_icl.scoring.scoring import label_log_probabilities

TINY = PROMPT_PRESETS["tiny"]


@pytest.fixture(scope="module")
def case() -> Iterator[PromptCase]:
    """A case with larger weights than a new Llama's, so that the prompt matters."""
    with make_prompt_case(TINY, "cpu") as made:
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in made.model.language_model.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(std=0.2)
        yield made


def test_the_script_writes_finite_ratios(tmp_path, capsys, monkeypatch):
    def in_this_process(peak, contenders, arguments, device):
        """New processes would take long to start. In this one a run may add no memory: hence the 1."""
        return {name: 1 + peak(name, *arguments) for name in contenders}

    monkeypatch.setattr(personal_answers, "peak_by_contender", in_this_process)
    speed_speech_lm(preset="tiny", json=tmp_path / "speed.json")
    figures = json.loads((tmp_path / "speed.json").read_text())
    names = ["score_vs_full_prompt", "score_vs_generate", "labels_per_second_every_vs_one"]
    assert list(figures["ratios"]) == names
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in figures["ratios"].values())
    assert (figures["queries"], figures["timed_queries_of_theirs"]) == (6, 2)
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    assert "theirs timed on 2 of 6 queries" in printed
    assert len(figures["by_precision"]["float32"]["memory"]["bytes"]) == 3


def test_memory_that_was_freed_before_a_run_does_not_count():
    size = 200_000_000
    torch.ones(size // 4).sum()  # allocated and freed
    taken = peak_bytes(lambda: torch.ones(size // 16).sum(), torch.device("cpu"))
    assert 0.8 * size / 4 < taken < 0.8 * size


def test_ours_and_theirs_give_the_same_scores(case):
    scores = own_scores(case)
    full = torch.stack([score_full_prompts(case, query) for query in range(TINY.queries)])
    assert_close(scores, full, atol=1e-4, rtol=0)
    assert max(check_answers(case, scores, TINY).values()) <= NATS["float32"]
    lengths = sorted(map(len, case.model.prompt.labels))
    assert lengths == [1] * 5 + [2] * 4


def test_scores_of_another_enrollment_are_refused(case):
    other = label_log_probabilities(case.model, case.enrollment, case.answers[::-1], case.queries)
    with pytest.raises(RuntimeError, match="nats apart"):
        check_answers(case, other, TINY)


def test_in_bf16_all_agree_within_its_rounding():
    with make_prompt_case(TINY, "cpu", "bf16") as half:
        assert half.prefix.dtype == torch.bfloat16
        check_answers(half, own_scores(half), TINY)


def test_a_greedy_answer_begins_with_the_likeliest_token(case):
    logits = generate(case, 1)
    embeddings = torch.cat([case.prefix, case.frames[1]])[None]
    with torch.no_grad():
        expected = case.model.language_model.causal(inputs_embeds=embeddings).logits[0, -1]
    assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_seconds_of_all_queries_are_in_proportion_to_those_timed(case, monkeypatch):
    seconds = {name: [2.0] for name in ("full prompt for each query and label", "generate() for each query")}
    taken = seconds | {"ours": [0.5]}
    monkeypatch.setattr(personal_answers, "time_in_rounds", lambda *_: taken)
    timing = compare_answers(case, TINY)
    assert [row.seconds for row in timing.rows] == [6.0, 6.0, 0.5]
    assert timing.ratios == {"score_vs_full_prompt": 12.0, "score_vs_generate": 12.0}
    all_timed = compare_answers(case, replace(TINY, timed_queries=TINY.queries))
    assert not any("timed on" in note for note in all_timed.notes)


def test_the_loss_on_the_last_label_is_on_no_other_label(case):
    batch, features = sequences(case, TINY)
    last, _ = sequences(case, TINY, first_target=TINY.pairs)
    assert torch.equal(last.token_ids, batch.token_ids)
    answer = [*case.model.prompt.labels[0], *case.model.prompt.template.end]
    for targets in last.targets:
        assert targets[targets != IGNORE].tolist() == answer
    with torch.no_grad():
        every, on_last = case.model.losses(batch, features), case.model.losses(last, features)
    assert (every != 0).sum() > (on_last != 0).sum()
    is_target = last.targets != IGNORE
    assert_close(on_last[is_target], every[is_target])


def test_labels_are_counted_by_sequence_and_clip(case, monkeypatch):
    taken = {"a loss on the last label": [2.0], "a loss on every label": [4.0]}
    monkeypatch.setattr(supervised_labels, "time_in_rounds", lambda *_: taken)
    timing = compare_labels(case, TINY)
    assert [row.seconds for row in timing.rows] == [1.0, 0.5]  # of 2 and of 2 * (3 + 1) labels
    assert timing.ratios == {"labels_per_second_every_vs_one": 2.0}


@pytest.mark.parametrize("heads", [4, 2])
def test_operations_of_attention_do_not_depend_on_shared_keys(heads):
    query = torch.randn(2, 4, 5, 8, requires_grad=True)
    key, value = (torch.randn(2, heads, 7, 8, requires_grad=True) for _ in range(2))
    forward = 2 * 2 * 2 * 4 * 5 * 7 * 8

    def attend():
        return F.scaled_dot_product_attention(query, key, value, enable_gqa=True)

    assert count_operations(attend) == forward
    output = attend().sum()
    assert count_operations(lambda: torch.autograd.grad(output, [query, key, value])) >= 2 * forward


def test_an_error_says_that_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(is_available=lambda: False))
    with pytest.raises(UserError, match="--device cpu"):
        speed_speech_lm(preset="tiny", device="cuda")


def test_every_preset_is_an_option_of_the_command():
    assert set(PROMPT_PRESETS) == set(get_args(PromptPresetName))
