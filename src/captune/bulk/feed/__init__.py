"""From inputs to images that need a caption: what is done, known or the same is not captioned."""
