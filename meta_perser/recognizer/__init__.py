"""The emotion recognizer: its model, which part of it moves (scope), and how clips are batched for it."""
