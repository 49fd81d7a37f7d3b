"""Training with Hugging Face's Trainer, for users' scripts and for recipes."""
