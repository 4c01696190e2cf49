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
    """One sequence of three clips: its prompts' batch and the features."""
    return collate([model.prompt.encode(ANSWERS)]), store.stack(["u0", "u1", "u2"])


def test_loss_is_that_of_the_whole_language_model_at_the_answers(model, store):
    batch, features = sequence(model, store)
    losses = model.losses(batch, features)
    logits = model.language_model.causal(
        inputs_embeds=model.embed(batch, features), attention_mask=batch.attention_mask
    ).logits
    expected = F.cross_entropy(logits[0, :-1], batch.targets[0, 1:], reduction="none", ignore_index=IGNORE)
    assert_close(losses[0, 1:], expected)
    assert losses[batch.targets == IGNORE].eq(0).all()


def test_a_label_is_predicted_without_seeing_itself_or_what_follows(model, store):
    """Changing the last clip and answer leaves the loss of all earlier answers as it was."""
    batch, features = sequence(model, store)
    other = collate([model.prompt.encode([*ANSWERS[:2], [0, 1]])])
    before = batch.token_ids.shape[1] - 3
    changed = torch.cat([features[:2], torch.randn(1, *features.shape[1:])])
    assert_close(model.losses(batch, features)[0, :before], model.losses(other, changed)[0, :before])


def test_padding_changes_nothing(model, store):
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


def test_a_batch_with_a_clip_too_few_is_refused(model, store):
    batch, features = sequence(model, store)
    with pytest.raises(ValueError, match="places for 3 clips, 2 were given"):
        model.losses(batch, features[:2])


def scores(model, store):
    return label_log_probabilities(
        model, store.stack(["u0", "u1"]), [[0], [1, 2]], store.stack(["u5", "u6", "u7"])
    )


def test_nine_emotions_as_iemocap_has_them(build, store):
    emotions = EmotionSet(
        ("frustrated", "angry", "sad", "disgust", "excited", "fear", "neutral", "surprise", "happy")
    )
    assert scores(build(emotions=emotions), store).shape == (3, 9)


def test_several_clips_of_different_lengths_and_padding_leave_every_prompt_as_it_was(build):
    """Losses of a batch against those of each prompt alone, with as many places as each clip is long."""
    model = build(kind="stack", windows_per_token=2)
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randn(length, 3, 5, generator=generator) for length in (1, 9, 4, 2, 6)]
    prompts = [model.prompt.encode(answers) for answers in ([[0], [1, 2], [2]], [[1], [0]])]
    together = model.batch(prompts, clips)
    losses = model.losses(together, clips)
    assert torch.bincount(together.clips[together.clips >= 0]).tolist() == [1, 5, 2, 1, 3]
    for row, prompt, own in ((0, prompts[0], clips[:3]), (1, prompts[1], clips[3:])):
        batch = model.batch([prompt], own)
        alone = model.losses(batch, own)[0]
        assert_close(losses[row, : len(alone)], alone, atol=1e-4, rtol=1e-4)


def test_more_or_fewer_clips_than_the_prompts_have_places_for_are_refused(model, store):
    prompt = model.prompt.encode(ANSWERS)
    for clips in (["u0", "u1"], ["u0", "u1", "u2", "u3"]):
        with pytest.raises(ValueError, match=f"places for 3 clips, {len(clips)} were given"):
            model.batch([prompt], store.stack(clips))


def test_a_config_that_lacks_what_a_model_needs_says_so():
    with pytest.raises(ValueError, match="SpeechLMConfig: no emotions, feature_shape"):
        SpeechLMForICL(SpeechLMConfig())
    model = SpeechLMForICL(SpeechLMConfig(emotions=["angry", "sad"], feature_shape=[3, 8]))
    assert len(model.prompt.labels) == 2
