"""Durable jobs: what was accepted survives the death of any process."""
