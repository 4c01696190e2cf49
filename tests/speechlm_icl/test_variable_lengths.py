"""Clips of different lengths, which take different numbers of positions: training, enrollment and scores."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from perser.episodes.episode import Support
from perser.training.accelerator import start_accelerator
from speechlm_icl.model.audio_tokens import answer_numbers
from speechlm_icl.personalizer import SpeechLMPersonalizer
from speechlm_icl.projectors.base import clips_on, read_clips
from speechlm_icl.prompt.prompt import TEXT
from speechlm_icl.scoring.prefix_cache import build_prefix_cache
from speechlm_icl.scoring.scoring import label_log_probabilities, score_queries
from speechlm_icl.training.meta_training import AnswerLosses, _add_gradients, meta_train
from speechlm_icl.training.options import IclOptions
from speechlm_icl.training.reading import read
from speechlm_icl.training.sequences import PairSequence, SequenceSampler
from speechlm_icl.training.validation import validate

SUPPORT, ANSWERS = ["u0", "u1", "u2", "u3"], [[0], [2, 1], [1], [2]]
QUERIES = [f"u{i}" for i in range(10, 17)]
SEVERAL_TOKENS = {"label_words": {"happy": "very glad indeed", "sad": "very sad"}}


@pytest.fixture
def windows(store):
    """The store's utterances as clips of 1 to 9 windows."""
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


@pytest.mark.parametrize("pairs", [0, 4])
def test_scores_equal_those_of_a_full_pass_over_each_prompt(model, windows, full_pass_scores, pairs):
    support, answers = SUPPORT[:pairs], ANSWERS[:pairs]
    features = read_clips(windows, support) if pairs else None
    scores = label_log_probabilities(model, features, answers, read_clips(windows, QUERIES))
    expected = full_pass_scores(model, windows, support, answers, QUERIES)
    assert_close(scores, expected, atol=1e-4, rtol=1e-4)


def test_scores_do_not_depend_on_the_other_queries(model, windows):
    prefix = build_prefix_cache(model, read_clips(windows, SUPPORT), ANSWERS)
    together = score_queries(model, prefix, read_clips(windows, QUERIES))
    alone = [score_queries(model, prefix, read_clips(windows, [query])) for query in QUERIES]
    assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_the_personalizer_reads_clips_of_different_lengths(model, windows):
    support = Support(tuple(SUPPORT), (("angry",), ("sad", "happy"), ("happy",), ("sad",)), seed=0)
    probabilities = SpeechLMPersonalizer(model, windows).personalize(support).predict_proba(QUERIES)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_meta_training_learns_from_clips_of_different_lengths(build, kind, tasks, windows):
    """It learns the classes that all persons agree on."""
    model = build(kind=kind, windows_per_token=2, width=32, heads=2, dropout=0.0, feature_noise=0.0)
    options = IclOptions(
        pairs=4,
        steps=40,
        batch_size=8,
        validate_every=20,
        validation_sequences=6,
        learning_rate=3e-3,
    )
    held_out = SequenceSampler(tasks[9:], model.prompt.emotions, 4).draw_each(6, 0)
    before = validate(model, held_out, windows)["loss"]
    history = meta_train(model, tasks[:9], tasks[9:], windows, options, start_accelerator(0))
    assert history[-1]["loss"] < before - 1.0
    every = torch.cat([windows[f"u{i}"] for i in range(60)])
    assert_close(model.projector.mean, every.mean(dim=0), atol=1e-5, rtol=1e-4)


def test_validation_separates_answers_by_the_pairs_before_them(model, tasks, windows):
    sequences = SequenceSampler(tasks, model.prompt.emotions, 3).draw_each(5, 0)
    found = validate(model, sequences, windows, batch_size=2)
    # Two clips, because the words of a prompt's last answer are not bound.
    two = [PairSequence(sequence.utterances[:2], sequence.answers[:2]) for sequence in sequences]
    batch, features = read(model, two, windows)
    of_first = answer_numbers(batch.clips) == 0
    expected = model.losses(batch, features)[of_first].sum().item() / 5
    assert found["loss_first"] == pytest.approx(expected, rel=1e-4)


def test_pooled_clips_move_to_a_device_as_a_tensor_and_others_clip_by_clip(store, windows):
    assert clips_on(read_clips(store, QUERIES), torch.device("cpu")).shape == (7, 3, 5)
    moved = clips_on(read_clips(windows, QUERIES), torch.device("meta"))
    assert {clip.device.type for clip in moved} == {"meta"}


def test_the_parts_of_a_step_hold_sequences_of_similar_length(build, tasks, windows):
    """All sequences have six pairs, so they differ only by their clips' lengths."""
    model = build(kind="stack", windows_per_token=2)
    options = IclOptions(pairs=6, batch_size=8, gradient_accumulation_steps=4)
    accelerator = start_accelerator(0)
    accelerator.gradient_accumulation_steps = 4
    positions_by_part = []

    def count_audio_positions(_, arguments):
        positions_by_part.append((arguments[0].clips != TEXT).sum(dim=1))

    losses = AnswerLosses(model)
    losses.register_forward_pre_hook(count_audio_positions)
    sampler = SequenceSampler(tasks, model.prompt.emotions, 6)
    _add_gradients(losses, model, sampler, windows, options, accelerator, step=1)
    assert [len(part) for part in positions_by_part] == [2] * 4
    positions = torch.cat(positions_by_part).tolist()
    assert len(set(positions)) > 3
    assert positions == sorted(positions)
