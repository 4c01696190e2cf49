"""Scores from a prefix cache against scores from full forward passes over every prompt; calibration."""

import pytest
import torch
from torch.testing import assert_close

from speechlm_icl.scoring import scoring
from speechlm_icl.scoring.prefix_cache import build_prefix_cache
from speechlm_icl.scoring.scoring import (
    calibrate,
    content_free_clip,
    label_log_probabilities,
    score_content_free,
    score_queries,
)

SUPPORT, ANSWERS = ["u0", "u1", "u2", "u3"], [[0], [2, 1], [1], [2]]
QUERIES = [f"u{i}" for i in range(10, 17)]
SEVERAL_TOKENS = {"label_words": {"happy": "very glad indeed", "sad": "very sad"}}


@pytest.fixture(params=["one token", "several tokens", "instruction", "two tokens a clip", "adapter", "chat"])
def any_model(request, build, llama_folder, chat_folder):
    return {
        "one token": lambda: build(),
        "several tokens": lambda: build(prompt=SEVERAL_TOKENS),
        "instruction": lambda: build(prompt={"instruction": "What is heard ?"}),
        "two tokens a clip": lambda: build(tokens_per_clip=2),
        "adapter": lambda: build(str(llama_folder)),
        "chat": lambda: build(str(chat_folder), prompt={"instruction": "What is heard ?"}),
    }[request.param]()


@pytest.mark.parametrize("pairs", [0, 1, 4])
def test_scores_equal_those_of_a_full_pass_over_each_prompt(any_model, store, full_pass_scores, pairs):
    support, answers = SUPPORT[:pairs], ANSWERS[:pairs]
    features = store.stack(support) if pairs else None
    scores = label_log_probabilities(any_model, features, answers, store.stack(QUERIES))
    assert scores.shape == (7, 3)
    assert scores.dtype == torch.float32
    expected = full_pass_scores(any_model, store, support, answers, QUERIES)
    assert_close(scores, expected, atol=1e-4, rtol=1e-4)


def test_scores_do_not_depend_on_the_order_and_number_of_queries(any_model, store, monkeypatch):
    prefix = build_prefix_cache(any_model, store.stack(SUPPORT), ANSWERS)
    together = score_queries(any_model, prefix, store.stack(QUERIES))
    alone = [score_queries(any_model, prefix, store.stack([query])) for query in QUERIES]
    assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    backwards = score_queries(any_model, prefix, store.stack(QUERIES[::-1])).flip(0)
    assert_close(together, backwards, atol=1e-5, rtol=1e-5)
    monkeypatch.setitem(scoring.POSITIONS_PER_PASS, "cpu", 3)
    assert_close(together, score_queries(any_model, prefix, store.stack(QUERIES)), atol=1e-5, rtol=1e-5)


def test_a_prefix_cache_can_be_used_again_and_again(model, store):
    prefix = build_prefix_cache(model, store.stack(SUPPORT), ANSWERS)
    first = score_queries(model, prefix, store.stack(QUERIES))
    assert torch.equal(first, score_queries(model, prefix, store.stack(QUERIES)))


def test_probabilities_of_all_labels_do_not_exceed_one(any_model, store):
    scores = label_log_probabilities(any_model, store.stack(SUPPORT), ANSWERS, store.stack(QUERIES))
    assert (scores.exp().sum(dim=1) <= 1 + 1e-5).all()


def test_scores_depend_on_the_answers_of_the_enrollment(any_model, store):
    scores = label_log_probabilities(any_model, store.stack(SUPPORT), ANSWERS, store.stack(QUERIES))
    reversed_scores = label_log_probabilities(
        any_model, store.stack(SUPPORT), ANSWERS[::-1], store.stack(QUERIES)
    )
    assert not torch.allclose(scores, reversed_scores)


def test_bf16_scores_are_within_its_rounding_of_float32_scores(build, store, full_pass_scores):
    """With 8 bits of precision a log-probability moves by about 0.01."""
    model = build(prompt=SEVERAL_TOKENS)
    expected = full_pass_scores(model, store, SUPPORT, ANSWERS, QUERIES)
    model.language_model.to(torch.bfloat16)
    scores = label_log_probabilities(model, store.stack(SUPPORT), ANSWERS, store.stack(QUERIES))
    assert scores.dtype == torch.float32
    assert_close(scores, expected, atol=0.05, rtol=0)


def test_calibration_is_that_of_the_paper():
    """W = diag(p_cf)^-1 on probabilities, normalized."""
    scores, content_free = torch.randn(4, 3), torch.randn(1, 3)
    p, p_cf = scores.softmax(dim=1), content_free.softmax(dim=1)
    weighted = p @ torch.diag(1 / p_cf[0])
    expected = weighted / weighted.sum(dim=1, keepdim=True)
    assert_close(calibrate(scores, content_free).softmax(dim=1), expected)


def test_the_calibrated_content_free_clip_is_uniform(model, store):
    prefix = build_prefix_cache(model, store.stack(["u0", "u1"]), [[0], [1]])
    content_free = score_content_free(model, prefix)
    assert content_free.shape == (1, 3)
    again = score_queries(model, prefix, content_free_clip(model))
    assert_close(calibrate(again, content_free).softmax(dim=1), torch.full((1, 3), 1 / 3))


def test_the_content_free_clip_is_the_mean_of_the_training_clips(model, store):
    clips = store.stack([f"u{i}" for i in range(20)])
    model.projector.fit_standardization(clips)
    assert_close(content_free_clip(model), clips.mean(dim=0, keepdim=True))
