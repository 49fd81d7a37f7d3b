"""From inputs to images to caption: done, known and duplicate ones are not captioned again."""
