"""Starts the program: answers `--version` before anything is loaded, then hands over to the CLI."""

import sys


def main() -> int:
    """Run the command line of this process and return its exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from blofin_cli import __version__

        sys.stdout.write(f"blofin {__version__}\n")
        return 0
    from blofin_cli.faces.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
