"""Generate captions from vision states: beam search, greedy search and sampling."""
