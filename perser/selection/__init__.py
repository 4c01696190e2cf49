"""How checkpoints, rates and strengths are chosen on validation episodes."""
