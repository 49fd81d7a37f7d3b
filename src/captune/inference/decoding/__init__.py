"""Vision states in, captions out: beam search, greedy search, sampling."""
