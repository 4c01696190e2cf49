import pytest
import torch
from torch.testing import assert_close

from speechlm_icl.projectors import PROJECTORS, new_projector
from speechlm_icl.projectors.base import Projector, ProjectorOptions, ProjectorSizes

FRAME_KINDS = sorted(set(PROJECTORS) - {"pooled"})
WINDOWS = (1, 3, 4, 7, 8, 13)


def projector(**options) -> Projector:
    torch.manual_seed(0)
    quiet = {"width": 16, "dropout": 0.0, "feature_noise": 0.0}
    return new_projector(ProjectorSizes(3, 5, 8, 0.02), ProjectorOptions(**(quiet | options)))


def clips(lengths=WINDOWS) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(length, 3, 5, generator=generator) for length in lengths]


@pytest.mark.parametrize("kind", FRAME_KINDS)
def test_a_clips_embeddings_do_not_depend_on_its_batch(kind):
    module = projector(kind=kind, tokens_per_clip=3, tokens_per_stretch=2)
    together = module(clips())
    assert len(together) == len(WINDOWS)
    for clip, rows in zip(clips(), together, strict=True):
        (alone,) = module([clip])
        assert_close(rows, alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", FRAME_KINDS)
def test_a_clip_gets_as_many_embeddings_as_predicted(kind):
    module = projector(kind=kind, windows_per_token=4, tokens_per_stretch=2, tokens_per_clip=3)
    lengths = [len(rows) for rows in module(clips())]
    assert lengths == module.lengths(clips())
    per_stretch = 2 if kind == "qformer" else 1
    expected = [3] * 6 if kind == "attention" else [per_stretch * n for n in (1, 1, 1, 2, 2, 4)]
    assert lengths == expected
    # 41 frames are 9 windows of 5, the last with one frame, and those are 3 stretches of 4
    assert module.options.num_tokens(41) == (3 if kind == "attention" else 3 * per_stretch)


@pytest.mark.parametrize("kind", FRAME_KINDS)
def test_every_window_and_every_weight_gets_a_gradient(kind):
    module = projector(kind=kind, tokens_per_clip=2, tokens_per_stretch=2)
    inputs = [clip.requires_grad_() for clip in clips()]
    weights = torch.randn(8)
    sum((rows.cumsum(0) * weights).square().sum() for rows in module(inputs)).backward()
    for clip in inputs:
        assert (clip.grad.abs().sum(dim=(1, 2)) > 0).all()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("kind", ["stack", "convolution", "qformer"])
def test_a_change_at_the_end_of_a_clip_changes_only_its_last_embeddings(kind):
    module = projector(kind=kind, windows_per_token=2)
    (clip,) = clips([12])
    changed = clip.clone()
    changed[-1] = -clip[-1]
    (before,), (after,) = module([clip]), module([changed])
    assert_close(before[:4], after[:4])
    assert not torch.allclose(before[-1], after[-1])


def test_stacking_is_concatenation():
    """Against the formula, in a loop: neighboring windows concatenated, zeros after the last."""
    module = projector(kind="stack", windows_per_token=3)
    (clip,) = clips([7])
    mixed = clip.mean(dim=1)  # equal layer weights at the start
    (rows,) = module([clip])
    for token, row in enumerate(rows):
        part = torch.zeros(3, 5)
        part[: len(mixed[3 * token : 3 * token + 3])] = mixed[3 * token : 3 * token + 3]
        assert_close(row, module.out_norm(module.mlp(module.norm(part.flatten()))))


def test_attention_is_a_softmax_over_the_clip():
    """Against the formula with one head, on one clip alone."""
    module = projector(kind="attention", heads=1)
    (clip,) = clips([6])
    windows = module.norm(clip.mean(dim=1))
    attention = module.attention
    keys, values = attention.key_value(windows).chunk(2, dim=-1)
    weights = (attention.query(module.queries) @ keys.T / 16**0.5).softmax(dim=-1)
    expected = module.out_norm(module.mlp(module.mlp_norm(attention.out(weights @ values))))
    assert_close(module([clip])[0], expected)


@pytest.mark.parametrize("kind", sorted(PROJECTORS))
def test_output_starts_at_the_scale_of_the_embeddings(kind):
    features = torch.randn(7, 3, 5) if kind == "pooled" else clips()
    for rows in projector(kind=kind, tokens_per_clip=2)(features):
        assert_close(rows.square().mean(dim=-1).sqrt(), torch.full((len(rows),), 0.02), rtol=2e-2, atol=0)


def test_pooled_and_attention_return_a_single_tensor():
    assert projector(tokens_per_clip=2)(torch.randn(7, 3, 5)).shape == (7, 2, 8)
    assert projector(kind="attention", tokens_per_clip=2)(clips()).shape == (6, 2, 8)


@pytest.mark.parametrize("kind", sorted(PROJECTORS))
def test_standardization_undoes_scale_and_offset_of_the_features(kind):
    features = list(torch.randn(50, 3, 5)) if kind == "pooled" else clips()
    plain, shifted = projector(kind=kind), projector(kind=kind)
    plain.fit_standardization(features)
    moved = [100 * clip + 7 for clip in features]
    shifted.fit_standardization(moved)
    every = torch.cat([clip.reshape(-1, 3, 5) for clip in features])
    assert_close(plain.mean, every.mean(dim=0))
    assert_close(plain.std, every.std(dim=0, correction=0))
    for expected, rows in zip(plain(features), shifted(moved), strict=True):
        assert_close(rows, expected, rtol=1e-3, atol=1e-5)


def test_a_constant_feature_gives_finite_embeddings():
    features = torch.randn(50, 3, 5)
    features[:, 0, 0] = 4.0
    module = projector()
    module.fit_standardization(features)
    assert module(features).isfinite().all()


@pytest.mark.parametrize("kind", sorted(PROJECTORS))
def test_noise_is_added_only_during_training(kind):
    module = projector(kind=kind, feature_noise=0.5)
    features = torch.randn(4, 3, 5) if kind == "pooled" else clips([4, 2])
    assert not torch.equal(module(features)[0], module(features)[0])
    module.eval()
    assert torch.equal(module(features)[0], module(features)[0])


def test_the_kind_determines_the_level_of_features():
    assert ProjectorOptions().level == "pooled"
    assert ProjectorOptions(kind="stack", window_frames=8).level == "windows:8"


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens_per_clip": 0},
        {"windows_per_token": 0},
        {"kind": "qformer", "width": 10, "heads": 4},
        {"dropout": 1.0},
        {"feature_noise": -1.0},
    ],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"projector\.\w+ must be"):
        ProjectorOptions(**wrong)


def test_the_noise_equals_the_weighted_sum_of_noise_on_every_feature():
    """Mean and deviation over many draws, against noise added feature by feature."""
    module = projector(feature_noise=0.7)
    with torch.no_grad():
        module.layer_weights.copy_(torch.tensor([0.0, 1.0, -0.5]))
    (clip,) = clips([1])
    drawn = module.mix_layers(clip.expand(20_000, -1, -1))
    weights = module.layer_weights.softmax(dim=0)
    noisy = clip + 0.7 * torch.randn(20_000, 3, 5)
    expected = torch.einsum("l,nld->nd", weights, noisy)
    assert_close(drawn.mean(dim=0), expected.mean(dim=0), atol=0.02, rtol=0)
    assert_close(drawn.std(dim=0), expected.std(dim=0), atol=0.02, rtol=0)
