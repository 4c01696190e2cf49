"""TODO(reorg): speechlm_icl.model."""
