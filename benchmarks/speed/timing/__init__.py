"""TODO(reorg): benchmarks.speed.timing."""
