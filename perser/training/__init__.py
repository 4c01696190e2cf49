"""What all trainings share: the loop, its options, checkpoints and resuming, logs, sharded weights."""
