"""The ground: what a personalized-SER task is. Knows no route."""
