"""The commands on photo libraries: caption, undo and merge; their flags and summaries."""
