import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from perser.labels import EmotionSet
from speechlm_icl.model.configuration import SpeechLMConfig
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.prompt.prompt import IGNORE, collate
from speechlm_icl.scoring.scoring import label_log_probabilities

ANSWERS = [[0], [1, 2], [2]]


def sequence(model, store):
    """Return one prompt of three clips, as a batch, and their features."""
    return collate([model.prompt.encode(ANSWERS)]), store.stack(["u0", "u1", "u2"])


def test_losses_equal_those_from_the_logits_of_the_full_language_model(model, store):
    batch, features = sequence(model, store)
    losses = model.losses(batch, features)
    logits = model.language_model.causal(
        inputs_embeds=model.embed(batch, features), attention_mask=batch.attention_mask
    ).logits
    expected = F.cross_entropy(logits[0, :-1], batch.targets[0, 1:], reduction="none", ignore_index=IGNORE)
    assert_close(losses[0, 1:], expected)
    assert losses[batch.targets == IGNORE].eq(0).all()


def test_a_label_is_predicted_only_from_what_precedes_it(model, store):
    """Changing the last clip and answer does not change the loss of earlier answers."""
    batch, features = sequence(model, store)
    other = collate([model.prompt.encode([*ANSWERS[:2], [0, 1]])])
    before = batch.token_ids.shape[1] - 3
    changed = torch.cat([features[:2], torch.randn(1, *features.shape[1:])])
    assert_close(model.losses(batch, features)[0, :before], model.losses(other, changed)[0, :before])


def test_padding_does_not_change_losses(model, store):
    batch, features = sequence(model, store)
    longer = model.prompt.encode([[0]] * 7)
    padded = collate([model.prompt.encode(ANSWERS), longer])
    more = torch.cat([features, store.stack([f"u{i}" for i in range(7)])])
    assert_close(
        model.losses(batch, features)[0],
        model.losses(padded, more)[0, : batch.token_ids.shape[1]],
        atol=1e-5,
        rtol=1e-5,
    )


def test_losses_of_a_batch_with_a_missing_clip_are_refused(model, store):
    batch, features = sequence(model, store)
    with pytest.raises(ValueError, match="placeholders for 3 clips, but 2 were given"):
        model.losses(batch, features[:2])


def scores(model, store):
    return label_log_probabilities(
        model, store.stack(["u0", "u1"]), [[0], [1, 2]], store.stack(["u5", "u6", "u7"])
    )


def test_a_model_of_iemocaps_nine_emotions(build, store):
    emotions = EmotionSet(
        ("frustrated", "angry", "sad", "disgust", "excited", "fear", "neutral", "surprise", "happy")
    )
    assert scores(build(emotions=emotions), store).shape == (3, 9)


def test_losses_of_a_prompt_with_clips_of_different_lengths_do_not_depend_on_its_batch(build):
    model = build(kind="stack", windows_per_token=2)
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randn(length, 3, 5, generator=generator) for length in (1, 9, 4, 2, 6)]
    prompts = [model.prompt.encode(answers) for answers in ([[0], [1, 2], [2]], [[1], [0]])]
    together = model.batch(prompts, clips)
    losses = model.losses(together, clips)
    assert torch.bincount(together.clips[together.clips >= 0]).tolist() == [1, 5, 2, 1, 3]
    for row, prompt, prompt_clips in ((0, prompts[0], clips[:3]), (1, prompts[1], clips[3:])):
        batch = model.batch([prompt], prompt_clips)
        alone = model.losses(batch, prompt_clips)[0]
        assert_close(losses[row, : len(alone)], alone, atol=1e-4, rtol=1e-4)


def test_more_or_fewer_clips_than_the_prompts_have_are_refused(model, store):
    prompt = model.prompt.encode(ANSWERS)
    for clips in (["u0", "u1"], ["u0", "u1", "u2", "u3"]):
        with pytest.raises(ValueError, match=f"placeholders for 3 clips, but {len(clips)} were given"):
            model.batch([prompt], store.stack(clips))


def test_a_config_without_emotions_or_feature_shape_is_refused():
    with pytest.raises(ValueError, match="SpeechLMConfig: no emotions, feature_shape"):
        SpeechLMForICL(SpeechLMConfig())
    model = SpeechLMForICL(SpeechLMConfig(emotions=["angry", "sad"], feature_shape=[3, 8]))
    assert len(model.prompt.labels) == 2
