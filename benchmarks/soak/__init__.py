"""Many clients at once for minutes, and whether the service stays well: `python -m benchmarks.soak`."""
