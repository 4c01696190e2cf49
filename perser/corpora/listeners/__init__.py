"""Simulated listeners: what each is like, how they are drawn, and what can be learned of them."""
