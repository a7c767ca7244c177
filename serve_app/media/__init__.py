"""Media: where uploaded bytes live and how they become samples."""
