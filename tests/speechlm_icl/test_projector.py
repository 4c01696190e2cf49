import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from speechlm_icl.projector import PooledProjector, ProjectorOptions, splice


@settings(max_examples=40, deadline=None)
@given(
    clip_lengths=st.lists(st.integers(1, 3), max_size=5),
    text_before=st.integers(0, 3),
    shuffle=st.randoms(use_true_random=False),
)
def test_splice_puts_every_frame_of_every_clip_in_its_place(clip_lengths, text_before, shuffle):
    order = list(range(len(clip_lengths)))
    shuffle.shuffle(order)
    row = [-1] * (text_before + 1)
    for clip in order:  # clips may stand in any order in the batch
        row += [clip] * clip_lengths[clip] + [-1]
    clips = torch.tensor([row])
    embeddings = torch.randn(1, len(row), 4)
    frames = [torch.randn(length, 4) for length in clip_lengths]

    spliced = splice(embeddings, clips, frames)

    expected = embeddings.clone()
    seen = [0] * len(frames)
    for position, clip in enumerate(row):
        if clip >= 0:
            expected[0, position] = frames[clip][seen[clip]]
            seen[clip] += 1
    assert_close(spliced, expected)


def test_a_clip_with_more_frames_than_places_is_refused_even_if_the_totals_agree():
    clips = torch.tensor([[0, 0, -1, 1]])
    embeddings = torch.zeros(1, 4, 2)
    with pytest.raises(ValueError, match="clip 0 has 2 places in the prompt but 1 frames"):
        splice(embeddings, clips, [torch.ones(1, 2), torch.ones(2, 2)])


def test_more_clips_than_the_prompt_has_places_for_are_refused():
    with pytest.raises(ValueError, match="clip 1 has 0 places"):
        splice(torch.zeros(1, 2, 2), torch.tensor([[0, -1]]), torch.ones(2, 1, 2))
    with pytest.raises(ValueError, match="places for 2 clips, 1 were given"):
        splice(torch.zeros(1, 2, 2), torch.tensor([[0, 1]]), torch.ones(1, 1, 2))


def test_splicing_lets_gradients_through_to_text_and_frames():
    embeddings = torch.zeros(1, 3, 2, requires_grad=True)
    frames = torch.ones(1, 1, 2, requires_grad=True)
    splice(embeddings, torch.tensor([[-1, 0, -1]]), frames).sum().backward()
    assert_close(embeddings.grad[0, :, 0], torch.tensor([1.0, 0.0, 1.0]))
    assert_close(frames.grad, torch.ones(1, 1, 2))


def projector(**options) -> PooledProjector:
    torch.manual_seed(0)
    quiet = {"width": 16, "dropout": 0.0, "feature_noise": 0.0}
    return PooledProjector(3, 5, 8, embedding_scale=0.02, options=ProjectorOptions(**(quiet | options)))


def test_output_has_the_shape_and_the_scale_of_the_embeddings():
    frames = projector(tokens_per_clip=2)(torch.randn(7, 3, 5))
    assert frames.shape == (7, 2, 8)
    assert_close(frames.square().mean(dim=-1).sqrt(), torch.full((7, 2), 0.02), rtol=1e-2, atol=0)


def test_standardisation_undoes_scale_and_offset_of_the_features():
    features = torch.randn(50, 3, 5)
    plain, shifted = projector(), projector()
    plain.fit_standardisation(features)
    shifted.fit_standardisation(100 * features + 7)
    assert_close(plain(features), shifted(100 * features + 7), rtol=1e-3, atol=1e-5)


def test_a_constant_feature_does_not_blow_up():
    features = torch.randn(50, 3, 5)
    features[:, 0, 0] = 4.0
    module = projector()
    module.fit_standardisation(features)
    assert module(features).isfinite().all()


def test_noise_is_for_training_alone():
    module = projector(feature_noise=0.5)
    features = torch.randn(4, 3, 5)
    assert not torch.equal(module(features), module(features))
    module.eval()
    assert torch.equal(module(features), module(features))


@pytest.mark.parametrize("wrong", [{"tokens_per_clip": 0}, {"dropout": 1.0}, {"feature_noise": -1.0}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        ProjectorOptions(**wrong)
