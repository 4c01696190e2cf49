"""The options of a command: their names, their types, and files of them."""
