"""The tables and the figure of the Meta-PerSER paper, in the paper's own layout."""
