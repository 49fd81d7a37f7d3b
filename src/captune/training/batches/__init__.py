"""Which images and captions make a batch, and how they reach the model."""
