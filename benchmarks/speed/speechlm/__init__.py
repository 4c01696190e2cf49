"""TODO(reorg): benchmarks.speed.speechlm."""
