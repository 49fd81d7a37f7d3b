"""What predictions are worth: scored images, scores, and their files."""
