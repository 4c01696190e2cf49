"""Speech encoders behind one interface: loading, LoRA adapters, and the cache of their features."""
