"""From captions to files: groups of changes, each committed before and after its renames."""
