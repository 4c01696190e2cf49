"""TODO(reorg): perser.inference."""
