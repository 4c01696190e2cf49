"""Route 2: a speech language model that personalises by reading a person's examples in its prompt."""
