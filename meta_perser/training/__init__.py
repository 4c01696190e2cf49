"""The trainings of the gradient route: supervised pretraining, and the outer loop of MAML."""
