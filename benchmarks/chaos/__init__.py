"""Kills processes while jobs run, and looks whether anything was lost: `python -m benchmarks.chaos`."""
