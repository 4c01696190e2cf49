"""Run the program as `python -m perser.cli COMMAND ...`, where the `perser` script is not on the path."""

from perser.cli.main import main

main()
