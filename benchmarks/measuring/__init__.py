"""Measure methods on episodes: predictions, then scores of each episode, then statistics over persons."""
