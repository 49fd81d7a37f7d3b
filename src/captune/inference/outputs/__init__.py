"""Where captions are written: a stream, files beside the images, or one file."""
