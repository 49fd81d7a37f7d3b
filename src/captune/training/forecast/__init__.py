"""What a training will cost: time and memory before it starts, and steps that are only timed."""
