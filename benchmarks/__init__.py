"""How fast and how right the service is, beside what it is built on: `make bench`."""
