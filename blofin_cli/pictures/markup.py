"""Elements of HTML and SVG that are escaped by construction: text is text unless it is Markup."""

from html import escape

from blofin_cli.pictures.wording import plain

_VOID = frozenset({"meta", "input", "br", "col"})


class Markup(str):
    """A string that is already safe markup; only this module and the page assembler make them."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element with escaped attributes and children.

    `class_` and `for_` lose their underscore, other underscores become hyphens; an attribute that
    is None or False is left out and one that is True stands alone; a child that is None is skipped.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """The children one after the other, escaped unless they are Markup."""
    return Markup("".join(_child(child) for child in children if child is not None))


def _child(child: object) -> str:
    return child if isinstance(child, Markup) else escape(plain(child), quote=False)


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    return f' {name}="{escape(plain(_short(value)))}"'


def _short(value: object) -> object:
    """Coordinates need no more than a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
