"""TODO(reorg): benchmarks.experiments."""
