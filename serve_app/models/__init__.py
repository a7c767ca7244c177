"""Models as everyone sees them: their states, what is told about them, and the Protocols by which they are steered."""
