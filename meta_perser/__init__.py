"""Route 1: Meta-PerSER, a recognizer meta-trained (MAML) to become one listener's in a few gradient steps."""
