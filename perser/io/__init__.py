"""TODO(reorg): perser.io."""
