"""Projectors whose clips take as many places as they are long: training, enrollment and scores."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from perser.episodes.episode import Support
from perser.training.accelerator import start
from speechlm_icl.personalizer import SpeechLMPersonalizer
from speechlm_icl.projectors.base import clips_on, read_clips
from speechlm_icl.prompt.prompt import TEXT
from speechlm_icl.scoring.scoring import build_prefix_cache, label_log_probabilities, score_queries
from speechlm_icl.train import AnswerLosses, IclTraining, _gradients, meta_train, read, validate
from speechlm_icl.training.sequences import PairSequence, SequenceSampler

SUPPORT, ANSWERS = ["u0", "u1", "u2", "u3"], [[0], [2, 1], [1], [2]]
QUERIES = [f"u{i}" for i in range(10, 17)]
SEVERAL_TOKENS = {"label_words": {"happy": "very glad indeed", "sad": "very sad"}}


@pytest.fixture
def windows(store):
    """The made-up task with clips of 1 to 9 windows."""
    generator = torch.Generator().manual_seed(2)
    features = {}
    for name, pooled in store.features.items():
        length = int(torch.randint(1, 10, (1,), generator=generator))
        features[name] = pooled + 0.1 * torch.randn(length, *pooled.shape, generator=generator)
    return type(store)(features, level="windows:5")


@pytest.fixture(params=["stack", "convolution", "qformer", "attention"])
def kind(request):
    return request.param


@pytest.fixture
def model(build, kind):
    return build(kind=kind, windows_per_token=2, tokens_per_clip=2, prompt=SEVERAL_TOKENS)


@torch.no_grad()
def recomputed(model, store, support, answers, queries) -> torch.Tensor:
    """From a forward pass of the whole language model over each prompt and label on its own."""
    rows = []
    for query in queries:
        clips = read_clips(store, [*support, query])
        row = []
        for emotion, label in enumerate(model.prompt.labels):
            batch = model.batch([model.prompt.encode([*answers, [emotion]])], clips)
            logits = model.language_model.causal(inputs_embeds=model.embed(batch, clips)).logits[0]
            log_probabilities = logits.log_softmax(dim=-1)
            first = len(logits) - len(label) - len(model.prompt.template.end)
            row.append(sum(log_probabilities[first + i - 1, token] for i, token in enumerate(label)))
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("pairs", [0, 4])
def test_scores_equal_those_of_every_prompt_on_its_own(model, windows, pairs):
    support, answers = SUPPORT[:pairs], ANSWERS[:pairs]
    features = read_clips(windows, support) if pairs else None
    scores = label_log_probabilities(model, features, answers, read_clips(windows, QUERIES))
    expected = recomputed(model, windows, support, answers, QUERIES)
    assert_close(scores, expected, atol=1e-4, rtol=1e-4)


def test_company_of_the_queries_does_not_matter(model, windows):
    enrollment = build_prefix_cache(model, read_clips(windows, SUPPORT), ANSWERS)
    together = score_queries(model, enrollment, read_clips(windows, QUERIES))
    alone = [score_queries(model, enrollment, read_clips(windows, [query])) for query in QUERIES]
    assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_the_route_reads_it(model, windows):
    support = Support(tuple(SUPPORT), (("angry",), ("sad", "happy"), ("happy",), ("sad",)), seed=0)
    probabilities = SpeechLMPersonalizer(model, windows).personalize(support).predict_proba(QUERIES)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_it_learns(build, kind, tasks, windows):
    """What all persons call alike is learned from clips of any length."""
    model = build(kind=kind, windows_per_token=2, width=32, heads=2, dropout=0.0, feature_noise=0.0)
    options = IclTraining(
        pairs=4,
        steps=40,
        sequences_per_step=8,
        validate_every=20,
        validation_sequences=6,
        learning_rate=3e-3,
    )
    held_out = SequenceSampler(tasks[9:], model.prompt.emotions, 4).draw_each(6, 0)
    before = validate(model, held_out, windows)["loss"]
    history = meta_train(model, tasks[:9], tasks[9:], windows, options, start(0))
    assert history[-1]["loss"] < before - 1.0
    every = torch.cat([windows[f"u{i}"] for i in range(60)])
    assert_close(model.projector.mean, every.mean(dim=0), atol=1e-5, rtol=1e-4)


def test_validation_tells_answers_apart_by_the_pairs_before_them(model, tasks, windows):
    sequences = SequenceSampler(tasks, model.prompt.emotions, 3).draw_each(5, 0)
    found = validate(model, sequences, windows, at_once=2)
    first = [PairSequence(one.utterances[:1], one.answers[:1]) for one in sequences]
    expected = model.losses(*read(model, first, windows)).sum().item() / 5
    assert found["loss_first"] == pytest.approx(expected, rel=1e-4)


def test_clips_go_to_the_device_one_by_one_or_together(store, windows):
    assert clips_on(read_clips(store, QUERIES), torch.device("cpu")).shape == (7, 3, 5)
    moved = clips_on(read_clips(windows, QUERIES), torch.device("meta"))
    assert {clip.device.type for clip in moved} == {"meta"}


def test_a_steps_parts_hold_sequences_of_similar_length(build, tasks, windows):
    """All of six pairs, so that their clips alone make one longer than another."""
    model = build(kind="stack", windows_per_token=2)
    options = IclTraining(pairs=6, sequences_per_step=8, accumulate=4)
    accelerator = start(0)
    accelerator.gradient_accumulation_steps = 4
    seen = []
    losses = AnswerLosses(model)
    losses.register_forward_pre_hook(lambda _, given: seen.append((given[0].clips != TEXT).sum(dim=1)))
    sampler = SequenceSampler(tasks, model.prompt.emotions, 6)
    _gradients(losses, model, sampler, windows, options, accelerator, step=1)
    assert [len(part) for part in seen] == [2] * 4
    places = torch.cat(seen).tolist()
    assert len(set(places)) > 3
    assert places == sorted(places)
