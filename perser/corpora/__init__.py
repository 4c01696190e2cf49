"""Read corpora in their published layouts, write and load prepared corpora, and simulate people."""
