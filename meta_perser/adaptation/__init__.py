"""MAML adaptation: the inner loop, its adjoint, learned rates, personalizers and the saved model."""
