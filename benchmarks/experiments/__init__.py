"""A whole experiment: the options in its file, its plan (folds, settings, ablations), and its stages."""
