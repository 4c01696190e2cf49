"""The server of `perser serve`: answers about clips and keeps profiles, over HTTP."""
