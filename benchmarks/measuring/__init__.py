"""TODO(reorg): benchmarks.measuring."""
