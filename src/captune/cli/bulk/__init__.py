"""The commands for photo libraries: caption, undo and merge; their flags and summaries."""
