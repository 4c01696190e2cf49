"""TODO(reorg): meta_perser.training."""
