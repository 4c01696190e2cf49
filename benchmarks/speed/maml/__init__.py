"""Meta-PerSER's training step and adaptation beside `higher`, plain MAML and plain fine-tuning."""
