"""Training by Hugging Face's Trainer: for scripts of users and for recipes."""
