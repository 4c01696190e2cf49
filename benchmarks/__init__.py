"""Measure every method on the same episodes, and report the results with intervals."""
