"""python -m perser.cli COMMAND ...: the same as `perser COMMAND ...`."""

from perser.cli.main import main

main()
