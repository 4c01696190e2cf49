"""Projectors: from a clip's encoder states to the embeddings that represent it in a prompt. One file a kind.

To add a projector:
1. Write a subclass of `base.Projector` in a file of its own (`stack.py` is a short example). `forward` maps
   the features of n clips to their embeddings. A clip's embeddings must not depend on the rest of the batch.
2. Add its name to `base.ProjectorKind` and its class to `PROJECTORS` below.
3. State in `ProjectorOptions.num_tokens_of_windows` how many embeddings a clip gets, and change
   `ProjectorOptions.level` if the projector reads something other than windows of frames.
The tests in tests/speechlm_icl/projectors run for every kind in `PROJECTORS`.
"""

from __future__ import annotations

from speechlm_icl.projectors.attention import AttentionProjector
from speechlm_icl.projectors.base import Projector, ProjectorKind, ProjectorOptions, ProjectorSizes
from speechlm_icl.projectors.convolution import ConvolutionProjector
from speechlm_icl.projectors.pooled import PooledProjector
from speechlm_icl.projectors.qformer import QFormerProjector
from speechlm_icl.projectors.stack import StackProjector

PROJECTORS: dict[ProjectorKind, type[Projector]] = {
    "pooled": PooledProjector,
    "attention": AttentionProjector,
    "stack": StackProjector,
    "convolution": ConvolutionProjector,
    "qformer": QFormerProjector,
}


def new_projector(sizes: ProjectorSizes, options: ProjectorOptions) -> Projector:
    """Return an untrained projector of the kind `options.kind`."""
    return PROJECTORS[options.kind](sizes, options)
