"""TODO(reorg): perser.export."""
