"""The `perser` program: how it finds and parses its commands, and the commands of this package."""
