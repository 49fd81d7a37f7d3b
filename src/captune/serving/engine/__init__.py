"""Models in separate processes, each behind a queue; batches hold the images that have arrived."""
