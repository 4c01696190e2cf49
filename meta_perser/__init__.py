"""Route 1: Meta-PerSER, a recognizer meta-trained (MAML) to adapt to one listener in a few gradient steps."""
