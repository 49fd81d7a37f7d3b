"""What the words of captions show: lengths, frequent captions, typical mistakes."""
