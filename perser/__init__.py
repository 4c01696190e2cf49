"""The ground: what a personalised-SER task is. Knows no route."""
