"""The forms of output of a bulk run: one file per image, or many rows in one place."""
