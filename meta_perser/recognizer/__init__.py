"""TODO(reorg): meta_perser.recognizer."""
