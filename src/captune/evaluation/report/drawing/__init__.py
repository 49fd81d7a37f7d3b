"""Charts as inline SVG and HTML, and their axes."""
