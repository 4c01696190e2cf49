"""TODO(reorg): meta_perser.adaptation."""
