"""Route 2: a speech language model that personalizes by reading a person's examples in its prompt."""
