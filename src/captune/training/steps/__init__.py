"""One optimizer step, and what makes it fast."""
