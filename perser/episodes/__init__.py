"""Split a corpus, draw episodes (support and query of a person), and save them for all methods."""
