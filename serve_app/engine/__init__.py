"""Recognition: chunks of speech in, recognised chunks out, batched across requests."""
