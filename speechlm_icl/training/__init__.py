"""TODO(reorg): speechlm_icl.training."""
