import pytest
import torch

from perser.errors import UserError
from perser.training.accelerator import start_accelerator
from speechlm_icl.model.audio_tokens import answer_numbers
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.scoring.scoring import label_log_probabilities
from speechlm_icl.train import check_shardable
from speechlm_icl.training.meta_training import (
    AnswerLosses,
    _add_gradients,
    check_batch_size,
    meta_train,
)
from speechlm_icl.training.options import IclOptions
from speechlm_icl.training.reading import first_target, read
from speechlm_icl.training.sequences import PairSequence, SequenceSampler
from speechlm_icl.training.validation import validate


def train(model, tasks, store, **options):
    few = {"pairs": 6, "steps": 4, "batch_size": 4, "validate_every": 2, "projector_steps": 0}
    options = IclOptions(**(few | options))
    return meta_train(model, tasks[:9], tasks[9:], store, options, start_accelerator(options.seed))


def accuracy(model, tasks, store, pairs: int) -> float:
    """Of predicting clips 30 to 59 of each task after its first pairs."""
    right = []
    for task in tasks:
        classes = [model.prompt.emotions.index(words[0]) for words in task.emotions]
        support = store.stack(task.utterances[:pairs]) if pairs else None
        scores = label_log_probabilities(
            model, support, [[label] for label in classes[:pairs]], store.stack(task.utterances[30:])
        )
        right.append((scores.argmax(dim=1) == torch.tensor(classes[30:])).float().mean())
    return float(torch.stack(right).mean())


def test_it_learns_to_read_the_enrollment_of_people_it_has_not_met(build, tasks, store):
    """What a person calls every third clip can only be guessed without enrollment: .78 at best."""
    model = build(dropout=0.0, feature_noise=0.0)
    options = {"pairs": 12, "steps": 60, "batch_size": 12, "validate_every": 20}
    history = train(model, tasks, store, learning_rate=2e-3, validation_sequences=12, **options)
    unread, read_ = (accuracy(model, tasks[9:], store, pairs) for pairs in (0, 6))
    assert unread < 0.8
    assert read_ > 0.88
    assert history[-1]["loss_late"] < history[-1]["loss_first"] - 0.1


def test_the_same_seed_gives_the_same_model(build, tasks, store):
    states = []
    for seed in (3, 3, 4):
        model = build(feature_noise=0.1, dropout=0.1)
        train(model, tasks, store, seed=seed)
        states.append(model.state_dict())
    same, again, other = states
    assert all(torch.equal(same[name], again[name]) for name in same)
    assert not all(torch.equal(same[name], other[name]) for name in same)


def test_a_frozen_language_model_stays_as_it_was(build, tasks, store, llama_folder):
    model = build(str(llama_folder))
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    train(model, tasks, store)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


def test_the_best_validated_step_is_kept(build, tasks, store):
    """A rate at which training falls apart: the model that is left is the best of those validated."""
    model = build()
    options = {"steps": 8, "validate_every": 1, "learning_rate": 0.3, "warmup": 0.0}
    history = train(model, tasks, store, **options)
    losses = [row["loss"] for row in history]
    sampler = SequenceSampler(tasks[9:], model.prompt.emotions, 6)
    assert validate(model, sampler.draw_each(64, 0), store)["loss"] == pytest.approx(min(losses), abs=1e-5)


@pytest.mark.parametrize("loss", ["every", "query"])
def test_a_step_in_parts_is_the_step_of_the_whole(build, tasks, store, loss):
    """Sequences of unlike lengths, sorted by them into parts; plain gradient descent shows the gradient."""
    moved = []
    for parts in (1, 2, 4):
        model = build(dropout=0.0, feature_noise=0.0)
        options = IclOptions(
            pairs=8, uniform_pairs=True, batch_size=4, gradient_accumulation_steps=parts, loss=loss
        )
        accelerator = start_accelerator(0)
        accelerator.gradient_accumulation_steps = parts
        trained, optimizer = accelerator.prepare(
            AnswerLosses(model), torch.optim.SGD(model.parameters(), lr=0.1)
        )
        sampler = SequenceSampler(tasks, model.prompt.emotions, 8, uniform=True)
        value, read_from = _add_gradients(trained, model, sampler, store, options, accelerator, step=1)
        optimizer.step()
        assert len(read_from) == 4
        moved.append((value, model.projector.mlp.up.weight.detach().clone()))
    for value, weight in moved[1:]:
        assert value == pytest.approx(moved[0][0], rel=1e-5)
        torch.testing.assert_close(weight, moved[0][1])


def test_clips_without_pairs_count_as_much_as_the_answers_of_sequences(build, tasks, store):
    model = build(dropout=0.0, feature_noise=0.0)
    options = IclOptions(pairs=4, batch_size=2, gradient_accumulation_steps=2, first_answers=3)
    accelerator = start_accelerator(0)
    accelerator.gradient_accumulation_steps = 3
    trained = accelerator.prepare(AnswerLosses(model))
    sampler = SequenceSampler(tasks, model.prompt.emotions, 4)
    value, read_from = _add_gradients(trained, model, sampler, store, options, accelerator, step=1)
    gradient = model.projector.mlp.up.weight.grad.clone()

    model.zero_grad()
    every = [*sampler.draw(2, 0, 1), *sampler.draw_first(3, 0, 1)]
    summed = sum(model.losses(*read(model, [sequence], store)).sum() for sequence in every)
    (summed / (2 * 5 + 3)).backward()
    assert value == pytest.approx(summed.item() / 13, rel=1e-5)
    torch.testing.assert_close(gradient, model.projector.mlp.up.weight.grad)
    assert sorted(part.utterances for part in read_from) == sorted(one.utterances for one in every)


def test_the_loss_of_the_query_alone_is_that_of_the_last_answer(build, tasks, store):
    model = build()
    sequences = SequenceSampler(tasks, model.prompt.emotions, 5).draw(3, 0)
    every, last = (model.losses(*read(model, sequences, store, loss)) for loss in ("every", "query"))
    batch, _ = read(model, sequences, store)
    final = batch.clips.shape[1] - 2  # the last label word; its end comes after it
    torch.testing.assert_close(last[:, final:], every[:, final:])
    assert last[:, : final - 1].eq(0).all()
    assert every[:, : final - 1].ne(0).any()


def test_recomputed_layers_give_the_same_gradient_and_are_left_off(build, tasks, store, llama_folder):
    model = build(str(llama_folder), dropout=0.0, feature_noise=0.0)
    sequences = SequenceSampler(tasks, model.prompt.emotions, 5).draw(3, 0)
    passes = []
    model.language_model.causal.model.layers[0].mlp.register_forward_pre_hook(
        lambda *given: passes.append(None)
    )

    def gradient(recompute: bool) -> torch.Tensor:
        model.language_model.recompute_layers(recompute)
        model.train().zero_grad()
        passes.clear()
        model.losses(*read(model, sequences, store)).sum().backward()
        assert len(passes) == (2 if recompute else 1)
        return model.projector.mlp.up.weight.grad.clone()

    torch.testing.assert_close(gradient(True), gradient(False))
    train(model, tasks, store, gradient_checkpointing=True)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def test_every_option_at_once_runs_on_a_chat_model(build, tasks, store, chat_folder):
    model = build(str(chat_folder))
    options = {"uniform_pairs": True, "restricted": 0.3, "missing": 0.3, "permute_labels": 0.5}
    shares = ("label_subsets", "balanced_starts", "merged_labels", "other_answers", "drawn_styles")
    options |= dict.fromkeys([*shares, "permute_labels_end"], 0.5)
    options |= {
        "projector_steps": 2,
        "gradient_accumulation_steps": 2,
        "first_answers": 3,
        "loss": "query",
        "language_learning_rate": 1e-4,
    }
    history = train(model, tasks, store, gradient_checkpointing=True, mixed_precision="bf16", **options)
    assert history[-1]["step"] == 4
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_accumulation_and_bf16_run(build, tasks, store):
    model = build()
    history = train(model, tasks, store, gradient_accumulation_steps=2, mixed_precision="bf16")
    assert history[-1]["loss"] < 10
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_validation_tells_answers_apart_by_the_pairs_before_them(build, tasks, store):
    model = build(tokens_per_clip=2)
    sequences = SequenceSampler(tasks, model.prompt.emotions, 3).draw_each(5, 0)
    found = validate(model, sequences, store, batch_size=2)
    # Two clips, because the words of a prompt's last answer are not bound.
    two = [PairSequence(sequence.utterances[:2], sequence.answers[:2]) for sequence in sequences]
    batch, features = read(model, two, store)
    of_first = answer_numbers(batch.clips) == 0
    expected = model.losses(batch, features)[of_first].sum().item() / 5
    assert found["loss_first"] == pytest.approx(expected, rel=1e-4)


def test_without_persons_it_says_so(model, tasks, store):
    with pytest.raises(UserError, match="training and validation persons"):
        meta_train(model, tasks, [], store, IclOptions(), start_accelerator(0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps: 0, give at least 1"),
        ({"pairs": -1}, "pairs: -1, give at least 0"),
        ({"batch_size": 5, "gradient_accumulation_steps": 2}, "batch_size: 5, give a multiple of .*2"),
        ({"warmup": 1.0}, "warmup: 1.0, give at least 0 and less than 1"),
        ({"projector_steps": -1}, "projector_steps: -1, give at least 0"),
        ({"restricted": 0.6, "missing": 0.6}, "restricted and missing: 0.6 and 0.6, .* at most 1"),
        ({"missing": -0.1}, "missing: -0.1, give at least 0"),
        ({"permute_labels": 1.5}, "permute_labels: 1.5, give a share from 0 to 1"),
        ({"other_answers": -0.5}, "other_answers: -0.5, give a share from 0 to 1"),
        ({"label_words": "new"}, "label_words: new, give one of own, drawn"),
        ({"opinion_pool": True, "permute_labels": 1.0}, "opinion_pool: true pools answers .* give false, or"),
        ({"loss": "some"}, "loss: some, give one of every, query"),
        ({"optimizer": "sgd"}, "optimizer: sgd, give one of adamw, adamw8bit"),
    ],
)
def test_options_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        IclOptions(**wrong)


def test_every_process_needs_a_sequence_for_each_of_its_parts():
    options = IclOptions(batch_size=6, gradient_accumulation_steps=2)
    check_batch_size(options, 3)
    with pytest.raises(UserError, match=r"^batch_size: 6 is too few for 4 .* give at least 8$"):
        check_batch_size(options, 4)


@pytest.mark.parametrize(
    ("options", "lora", "key"),
    [
        ({"optimizer": "adamw8bit"}, {}, "optimizer: adamw8bit"),
        ({}, {"base_weights": "8bit"}, r"lora\.base_weights: 8bit"),
        ({}, {"base_weights": "4bit"}, r"lora\.base_weights: 4bit"),
    ],
)
def test_what_is_quantized_is_not_sharded(options, lora, key):
    check_shardable(IclOptions(), LoraOptions(base_weights="bfloat16"))
    with pytest.raises(UserError, match=rf"^{key} cannot be sharded: .*ddp\.yaml"):
        check_shardable(IclOptions(**options), LoraOptions(**lora))


@pytest.mark.parametrize(
    ("options", "option"),
    [({"selection": "maF1"}, "selection: maF1"), ({"opinion_pool": True}, "opinion_pool: true")],
)
def test_what_needs_answers_is_not_trained_with_sharded_weights(options, option):
    with pytest.raises(UserError, match=rf"^{option} needs answers .*: leave it out, or launch with .*ddp"):
        check_shardable(IclOptions(**options), LoraOptions())


@pytest.mark.parametrize(
    ("renamed", "loss", "guesses", "targets"),
    [
        (False, "every", False, [0, 1, 2]),
        (True, "every", True, [0, 1, 2]),
        (True, "every", False, [1, 2]),
        (True, "query", False, [2]),
    ],
)
def test_the_first_answer_under_words_without_meaning_is_no_target(
    build, store, renamed, loss, guesses, targets
):
    model = build()
    sequence = PairSequence(("u0", "u1", "u2"), [[0], [1], [2]], "p0", renamed=renamed)
    assert first_target(sequence, loss, guesses) == targets[0]
    batch, features = read(model, [sequence], store, loss, guesses)
    found = model.losses(batch, features)[0]
    words = [int((batch.answers[0] == number).nonzero()[0, 0]) for number in range(3)]
    assert [number for number, place in enumerate(words) if found[place] > 0] == targets


def test_a_sequence_of_one_answer_has_a_target():
    assert first_target(PairSequence(("u0",), [[0]], renamed=True), "every", guesses=False) == 0
