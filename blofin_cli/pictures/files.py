"""Writing pictures: the one effect of this package."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from blofin_cli.errors import DataError, UsageError
from blofin_cli.pictures.chart import zone_chart_html, zone_chart_png, zone_chart_svg
from blofin_cli.pictures.views import ChartView

SUFFIXES = (".html", ".svg", ".png")


def check_file(option: str, path: str | None, kinds: Sequence[str] = SUFFIXES) -> None:
    """Refuse a file nothing can be written to before a minute of work, not after.

    Errors: UsageError naming the option.
    """
    if path is None:
        return
    folder = Path(path).parent
    if Path(path).suffix.lower() not in kinds:
        raise UsageError(f"{option} writes {' or '.join(kinds)}, not {ascii(path)[:80]}")
    if not folder.is_dir():
        raise UsageError(f"{option}: {ascii(str(folder))[:80]} is no folder")
    if Path(path).is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"{option}: {ascii(path)[:80]} cannot be written")


def chart_content(view: ChartView, suffix: str) -> str | bytes:
    """The chart in the format that a file's suffix asks for.

    Errors: UsageError for another suffix; ConfigError when PNG lacks its package.
    """
    match suffix.lower():
        case ".html" | ".htm":
            return zone_chart_html(view)
        case ".svg":
            return zone_chart_svg(view)
        case ".png":
            return zone_chart_png(view)
    raise UsageError(
        f"no picture format is called {suffix!r}", hint="end the file in " + ", ".join(SUFFIXES)
    )


def save_chart(path: Path, view: ChartView) -> None:
    """Write the chart in the format its suffix names."""
    save(path, chart_content(view, path.suffix))


def save(path: Path, content: str | bytes) -> None:
    """Write the file whole or not at all: a reader never sees half a picture.

    Errors: DataError when the folder is missing or cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    # Not tempfile: its files are private whatever the umask, and would stay so after the rename.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot write {path}: {error.strerror}", hint="choose a folder that exists")
