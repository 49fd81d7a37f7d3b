"""From an RGB image to vision states: pixels, encoder stages, folded batch norms."""
