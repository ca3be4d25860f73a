"""Starts the program: answers `--version` before anything is loaded, then hands over to the CLI."""

import gc
import sys

# Commands that open another face, and where it lives. Each module offers
# `open_face(request, context) -> int`: the face runs until the person leaves it.
FACES = {
    "dash": "blofin_cli.faces.tui",
    "web": "blofin_cli.faces.web",
    "mcp": "blofin_cli.faces.mcp",
}


def main() -> int:
    """Run the command line of this process and return its exit code.

    Collecting garbage among freshly loaded modules finds none and took a third of the start-up
    time, so it waits until the command runs, and what is left at the end is not searched again.
    """
    if sys.argv[1:] in (["--version"], ["-V"]):
        from blofin_cli import __version__

        sys.stdout.write(f"blofin {__version__}\n")
        return 0
    gc.disable()
    try:
        from blofin_cli.faces.cli import run

        return run(sys.argv[1:], FACES)
    except KeyboardInterrupt:
        return 130
    finally:
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
