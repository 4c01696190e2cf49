"""Adjust any method: its probabilities (recalibration) or its features (standardization)."""
