"""The speech LM's scores and training loss beside full prompts and `generate()`."""
