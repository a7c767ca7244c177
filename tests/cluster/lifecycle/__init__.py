"""A package, so that the service that its tests share ends with the last of them."""
