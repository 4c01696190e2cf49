"""From a trained model and a few labeled clips to answers about new clips."""
