"""TODO(reorg): benchmarks.speed.maml."""
