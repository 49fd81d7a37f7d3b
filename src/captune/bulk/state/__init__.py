"""What a run holds open: the lock, the journal, the outputs; and how it ends, cleanly or not."""
