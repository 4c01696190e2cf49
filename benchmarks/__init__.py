"""The roof: every method on the same episodes, with intervals, in one report."""
