"""Measurements of speed and memory, each against the tool or loop that one would use instead."""
