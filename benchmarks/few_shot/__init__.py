"""Measure on any corpus how well a model learns labels from a few of a person's clips."""
