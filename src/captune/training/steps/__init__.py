"""One optimizer step, and the optimizations that make it fast."""
