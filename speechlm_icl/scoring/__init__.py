"""Scoring: read an enrollment once into a prefix cache, then score every label for each query after it."""
