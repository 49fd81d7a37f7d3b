"""The scores, one file per metric: captions and references in, numbers out."""
