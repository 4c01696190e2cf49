"""The emotion recognizer: its model, and how clips are batched for it."""
