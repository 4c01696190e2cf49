"""Check on a GPU, in one command, what works, what equals the CPU's results, and how fast it is."""
