"""A progress bar on stderr with rate and remaining time, for a person at a terminal."""

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from blofin_cli.faces.render import printable


class RateColumn(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        """The rate, blank until it is known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")


class ProgressBar:
    """`progress(done, total, text)` as a bar that draws itself on the first call."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def clear(self) -> None:
        """Make room for a question; the next call draws anew."""
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._tasks = None, {}

    def __call__(self, done: int, total: int, text: str) -> None:
        """Show that `done` of `total` steps of `text` are behind us."""
        if self._bar is None:
            self._bar = _started()
        if text not in self._tasks:
            self._tasks[text] = self._bar.add_task(printable(text), total=total)
        self._bar.update(self._tasks[text], completed=done, total=total)


def _started() -> Progress:
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bar.start()
    return bar
