"""Models in processes of their own, a queue in front of each, batches of what has arrived."""
