"""Takes all of the GPU's memory but the given number of bytes, says so, and holds it until its standard input ends."""

from __future__ import annotations

import sys

from tests.gpu.driver import Driver


def main() -> None:
    driver = Driver()
    driver.take_all_but(int(sys.argv[1]))
    sys.stdout.write("holding\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
