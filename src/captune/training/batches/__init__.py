"""The images and captions of each batch, and how they reach the model."""
