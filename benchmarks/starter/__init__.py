"""Make the starter models that come with the package: train, measure and pack them."""
