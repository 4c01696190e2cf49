"""The `perser` program: how it finds and parses its commands, and one short file for each command."""
