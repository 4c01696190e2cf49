"""TODO(reorg): perser.corpora.readers."""
