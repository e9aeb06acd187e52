"""`python -m tracekit` and the console script."""

import os
import sys
import threading


def main() -> None:
    """Run the command line; the real work is imported only when a command needs it."""
    from tracekit.cli import run

    code = run(sys.argv[1:])
    if any(thread.name == "tracekit-ahead" for thread in threading.enumerate()):
        # It still loads a tokenizer that nobody waits for: compiled code that an ending interpreter
        # would cut off in the middle, with a message of the C++ library.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
