"""TODO(reorg): speechlm_icl.prompt."""
