"""TODO(reorg): speechlm_icl.scoring."""
