"""`python -m tracekit` and the console script."""

import sys


def main() -> None:
    """Run the command line; the real work is imported only when a command needs it."""
    from tracekit.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
