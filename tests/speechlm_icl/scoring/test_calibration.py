import torch
from torch.testing import assert_close

from speechlm_icl.scoring.prefix_cache import build_prefix_cache
from speechlm_icl.scoring.scoring import calibrate, content_free_clip, score_content_free, score_queries


def test_the_paper_s_weights():
    """W = diag(p_cf)^-1 on probabilities, normalized."""
    scores, free = torch.randn(4, 3), torch.randn(1, 3)
    p, p_cf = scores.softmax(dim=1), free.softmax(dim=1)
    weighted = p @ torch.diag(1 / p_cf[0])
    assert_close(calibrate(scores, free).softmax(dim=1), weighted / weighted.sum(dim=1, keepdim=True))


def test_the_content_free_clip_itself_comes_out_uniform(model, store):
    enrollment = build_prefix_cache(model, store.stack(["u0", "u1"]), [[0], [1]])
    free = score_content_free(model, enrollment)
    assert free.shape == (1, 3)
    again = score_queries(model, enrollment, content_free_clip(model))
    assert_close(calibrate(again, free).softmax(dim=1), torch.full((1, 3), 1 / 3))


def test_the_content_free_clip_is_the_mean_of_the_training_clips(model, store):
    clips = store.stack([f"u{i}" for i in range(20)])
    model.projector.fit_standardization(clips)
    assert_close(content_free_clip(model), clips.mean(dim=0, keepdim=True))
