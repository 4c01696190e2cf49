"""Scores from the shared enrollment cache against an oracle that reads every prompt anew, in full."""

import pytest
import torch
from torch.testing import assert_close

from speechlm_icl.scoring import scoring
from speechlm_icl.scoring.scoring import build_prefix_cache, label_log_probabilities, score_queries

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


@torch.no_grad()
def recomputed(model, store, support, answers, queries) -> torch.Tensor:
    """Log-probability of the first label, from a forward pass of the whole language model over each prompt
    and label on its own."""
    rows = []
    for query in queries:
        features = store.stack([*support, query])
        row = []
        for emotion, label in enumerate(model.prompt.labels):
            batch = model.batch([model.prompt.encode([*answers, [emotion]])], features)
            logits = model.language_model.causal(inputs_embeds=model.embed(batch, features)).logits[0]
            log_probabilities = logits.log_softmax(dim=-1)
            first = len(logits) - len(label) - len(model.prompt.template.end + model.prompt.template.following)
            row.append(sum(log_probabilities[first + i - 1, token] for i, token in enumerate(label)))
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("pairs", [0, 1, 4])
def test_scores_equal_those_of_every_prompt_on_its_own(any_model, store, pairs):
    support, answers = SUPPORT[:pairs], ANSWERS[:pairs]
    features = store.stack(support) if pairs else None
    scores = label_log_probabilities(any_model, features, answers, store.stack(QUERIES))
    assert scores.shape == (7, 3)
    assert scores.dtype == torch.float32
    assert_close(scores, recomputed(any_model, store, support, answers, QUERIES), atol=1e-4, rtol=1e-4)


def test_order_and_company_of_the_queries_do_not_matter(any_model, store, monkeypatch):
    enrollment = build_prefix_cache(any_model, store.stack(SUPPORT), ANSWERS)
    together = score_queries(any_model, enrollment, store.stack(QUERIES))
    alone = [score_queries(any_model, enrollment, store.stack([query])) for query in QUERIES]
    assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    backwards = score_queries(any_model, enrollment, store.stack(QUERIES[::-1])).flip(0)
    assert_close(together, backwards, atol=1e-5, rtol=1e-5)
    monkeypatch.setitem(scoring.POSITIONS_PER_PASS, "cpu", 3)
    assert_close(together, score_queries(any_model, enrollment, store.stack(QUERIES)), atol=1e-5, rtol=1e-5)


def test_an_enrollment_can_be_scored_again_and_again(model, store):
    enrollment = build_prefix_cache(model, store.stack(SUPPORT), ANSWERS)
    first = score_queries(model, enrollment, store.stack(QUERIES))
    assert torch.equal(first, score_queries(model, enrollment, store.stack(QUERIES)))


def test_probabilities_of_all_labels_do_not_exceed_one(any_model, store):
    scores = label_log_probabilities(any_model, store.stack(SUPPORT), ANSWERS, store.stack(QUERIES))
    assert (scores.exp().sum(dim=1) <= 1 + 1e-5).all()


def test_the_enrollment_is_read(any_model, store):
    one = label_log_probabilities(any_model, store.stack(SUPPORT), ANSWERS, store.stack(QUERIES))
    other = label_log_probabilities(any_model, store.stack(SUPPORT), ANSWERS[::-1], store.stack(QUERIES))
    assert not torch.allclose(one, other)


def test_in_bf16_scores_are_within_its_rounding(build, store):
    """Of the full prompts in float32: with 8 bits of precision a log-probability moves by about 0.01."""
    model = build(prompt=SEVERAL_TOKENS)
    expected = recomputed(model, store, SUPPORT, ANSWERS, QUERIES)
    model.language_model.to(torch.bfloat16)
    scores = label_log_probabilities(model, store.stack(SUPPORT), ANSWERS, store.stack(QUERIES))
    assert scores.dtype == torch.float32
    assert_close(scores, expected, atol=0.05, rtol=0)
