"""TODO(reorg): perser.training."""
