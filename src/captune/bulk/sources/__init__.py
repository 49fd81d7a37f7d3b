"""The inputs of a bulk run, streamed: files, folders, globs, lists, archives, tables and URLs."""
