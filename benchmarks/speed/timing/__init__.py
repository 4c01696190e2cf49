"""Timing, memory and operation counts of the contenders, and the tables that show them."""
