"""The kinds of projector, one file each; `new_projector` makes one by its name."""

from __future__ import annotations

from speechlm_icl.projectors.attention import AttentionProjector
from speechlm_icl.projectors.base import Kind, Projector, ProjectorOptions, Sizes
from speechlm_icl.projectors.convolution import ConvolutionProjector
from speechlm_icl.projectors.pooled import PooledProjector
from speechlm_icl.projectors.qformer import QFormerProjector
from speechlm_icl.projectors.stack import StackProjector

KINDS: dict[Kind, type[Projector]] = {
    "pooled": PooledProjector,
    "attention": AttentionProjector,
    "stack": StackProjector,
    "convolution": ConvolutionProjector,
    "qformer": QFormerProjector,
}


def new_projector(sizes: Sizes, options: ProjectorOptions) -> Projector:
    """An untrained projector of the kind that the options name."""
    return KINDS[options.kind](sizes, options)
