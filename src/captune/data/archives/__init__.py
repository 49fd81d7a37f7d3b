"""Images and annotations inside zip and tar archives, read in place."""
