"""``python -m probity`` and the console script: turns expected errors into one message and an exit code."""

from __future__ import annotations

import sys
import traceback

from probity.errors import ProbityError

__all__ = ["main"]


def main() -> None:
    """Runs the command line and exits.

    Exit codes: 0 done; 2 config, data or arguments are wrong; 3 the gate says hold; 4 the privacy budget does not allow
    it; 5 a worker environment is not ready; 1 anything unexpected. ``--debug``, anywhere, shows tracebacks.
    """
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    from probity.platform.cli import app

    try:
        app(arguments)
    except ProbityError as error:
        if debug:
            traceback.print_exception(error)
        else:
            print(f"probity: {error}", file=sys.stderr)  # noqa: T201 - the one message of an expected error
        sys.exit(error.exit_code)
    except Exception as error:
        if debug:
            raise
        # The text of an unexpected error may quote data, so only its kind is shown.
        print(  # noqa: T201
            f"probity: unexpected {type(error).__name__}. Run the same command with --debug for the traceback; "
            "check it for data values before you share it.",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
