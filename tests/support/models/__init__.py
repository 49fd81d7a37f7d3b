"""Small models, and slow twins of what captune does fast."""
