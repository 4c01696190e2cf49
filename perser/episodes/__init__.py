"""TODO(reorg): perser.episodes."""
