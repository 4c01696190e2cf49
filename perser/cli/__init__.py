"""TODO(reorg): perser.cli."""
