"""TODO(reorg): perser.encoders."""
