"""The speech language model: base language model and adapter, audio in prompts, checkpoints and processor."""
