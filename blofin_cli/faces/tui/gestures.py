"""Questions put to the person: each is as hard to answer by accident as its answer is grave.

Halting asks, but does not wait for the answer: unless it is taken back it happens by itself.
Whatever trades wants a word typed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Select, Static

from blofin_cli.faces.tui.words import plain

HALT_SECONDS = 3
FEW = 6  # lines that fit into every terminal


@dataclass(frozen=True, slots=True)
class Matter:
    """What a question is about: a line that names it, what else there is to know, and the word that
    agrees, the command's own unless it says another."""

    name: str = ""
    lines: tuple[str, ...] = ()
    word: str = ""


def _label(words: str, classes: str = "") -> Label:
    return Label(Text(plain(words, 2000)), markup=False, classes=classes)


class HaltQuestion(ModalScreen[bool]):
    """Halt trading? It goes ahead by itself after three seconds."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h,enter,f8", "answer(True)", "halt now"),
        Binding("escape", "answer(False)", "keep trading"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._left = HALT_SECONDS

    def compose(self) -> ComposeResult:
        """The question and what every key does."""
        with Vertical(classes="question grave"):
            yield _label("Halt trading?", "heading")
            yield _label("No new entries; resting entries are cancelled; protection stays.")
            yield Static(self._words(), markup=False, id="countdown")
            yield _label("h or Enter: now     Esc: keep trading")

    def _words(self) -> Text:
        return Text(f"Halting by itself in {self._left} s", style="bold")

    def on_mount(self) -> None:
        """Start counting."""
        self.set_interval(1.0, self._count)

    def _count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self.dismiss(True)
            return
        self.query_one("#countdown", Static).update(self._words())

    def action_answer(self, answer: bool) -> None:
        """The person's answer."""
        self.dismiss(answer)


class TypeIn(ModalScreen[str]):
    """A question answered by typing; Escape answers with nothing.

    `word`: only this very word will do, and the dialog says so. `about`: what to read first, rolled
    by the arrows where there is little room. `secret`: what it names is typed unseen.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave"),
        Binding("up,pageup", "roll(-1)", "read back", show=False),
        Binding("down,pagedown", "roll(1)", "read on", show=False),
    ]

    def __init__(
        self,
        question: str,
        *,
        about: Sequence[str] = (),
        word: str = "",
        secret: str = "",
        value: str = "",
    ) -> None:
        super().__init__()
        self._question, self._about = question, tuple(about)
        self._word, self._secret, self._value = word, secret, value

    def compose(self) -> ComposeResult:
        """The question, what it is about, where to type, and the way out."""
        hint = f"Type {self._word} and press Enter." if self._word else self._secret
        with Vertical(classes="question wide" if self._about else "question"):
            yield _label(self._question, "heading")
            with VerticalScroll(classes="about", can_focus=False):
                for line in self._about:
                    yield _label(line)
            if hint:
                yield _label(hint)
            yield Input(value=self._value, password=bool(self._secret), id="typed")
            yield _label("", "wrong")
            arrows = "↑ ↓: read on     " if len(self._about) > FEW else ""
            yield _label(f"{arrows}Esc: leave without doing it", "dim")

    def action_roll(self, steps: int) -> None:
        """More of what it is about."""
        self.query_one(".about").scroll_relative(y=2 * steps, animate=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the answer if it is the word."""
        event.stop()
        if self._word and event.value.strip() != self._word:
            self.query_one(".wrong", Label).update(Text(f"that is not {plain(self._word)}"))
            return
        self.dismiss(event.value)

    def action_leave(self) -> None:
        """Answer with nothing."""
        self.dismiss("")


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a form: its name, what stands before it, its value and, if any, its choices."""

    name: str
    label: str
    value: str = ""
    choices: tuple[str, ...] = ()
    hint: str = ""


class Form(ModalScreen[dict[str, str] | None]):
    """Some fields to fill in; Ctrl+S or Enter in a text field sends, Escape leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "send", "go"),
        Binding("escape", "leave", "leave"),
    ]

    def __init__(self, title: str, fields: Sequence[Field], *, note: str = "") -> None:
        super().__init__()
        self._title, self._fields, self._note = title, tuple(fields), note

    def compose(self) -> ComposeResult:
        """A heading, the fields, and what the keys do."""
        with Vertical(classes="question"):
            yield _label(self._title, "heading")
            if self._note:
                yield _label(self._note, "dim")
            with VerticalScroll(classes="fields", can_focus=False):
                for field in self._fields:
                    yield _label(field.label, "field")
                    yield _editor(field)
            yield _label("Enter: go     Tab: next field     Esc: leave", "dim")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter sends the form."""
        event.stop()
        self.action_send()

    def action_send(self) -> None:
        """Answer with every field that is not empty."""
        answers: dict[str, str] = {}
        for field in self._fields:
            editor = self.query_one(f"#field-{field.name}")
            value = editor.value if isinstance(editor, (Input, Select)) else ""
            if isinstance(value, str) and value.strip():
                answers[field.name] = value.strip()
        self.dismiss(answers)

    def action_leave(self) -> None:
        """Answer with nothing."""
        self.dismiss(None)


def _editor(field: Field) -> Input | Select[str]:
    if not field.choices:
        return Input(
            value=field.value, placeholder=field.hint, id=f"field-{field.name}", compact=True
        )
    return Select(
        [(choice, choice) for choice in field.choices],
        value=field.value or Select.NULL,
        allow_blank=True,
        prompt="any",
        id=f"field-{field.name}",
        compact=True,
    )
