"""The training of the speech language model: its options, sequences, projector stage and meta-training."""
