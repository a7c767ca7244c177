"""The nouns that every part shares, and pure functions of them."""
