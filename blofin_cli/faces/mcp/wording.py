"""Errors and messages in an agent's words: arguments without dashes, tools by their names.

What is written for the command line stays as it is where only a person can act on it.
"""

import re

from blofin_cli.faces.mcp.toolset import APPLYING, HIDDEN, Offer

CLAUSES = re.compile(r"(?<=;) |(?<=,) (?=or )")
OPTION = re.compile(r"--([a-z][a-z0-9-]*)")
POSITIONAL = re.compile(r"^[A-Z][A-Z_]*(?= )")
COMMAND = re.compile(r"\bblofin ([a-z]+)\b")
HELP = re.compile(r"\bblofin [a-z-]+ --help")
SCHEMA = "the tool's schema"


def for_agent(text: str, offer: Offer) -> str:
    """A text as an agent of this offer can use it, without clauses about what is not an agent's."""
    hidden = HIDDEN if offer.allow_trading else HIDDEN | APPLYING
    clauses = [clause for clause in CLAUSES.split(text) if not hidden & set(_options(clause))]
    return " ".join(_renamed(clause, offer) for clause in clauses).rstrip(";,")


def _options(clause: str) -> list[str]:
    return [_field(word) for word in OPTION.findall(clause)]


def _field(option: str) -> str:
    return option.replace("-", "_")


def _renamed(clause: str, offer: Offer) -> str:
    tools = {spec.name: tool for tool, spec in offer.tools.items()}
    fields = {option.field for spec in offer.tools.values() for option in spec.options()}
    clause = HELP.sub(SCHEMA, clause)
    clause = COMMAND.sub(lambda found: tools.get(found[1], found[0]), clause)
    if COMMAND.search(clause):
        return clause  # a person's command line, as it is typed
    clause = POSITIONAL.sub(lambda found: _known(found[0].lower(), fields, found[0]), clause)
    return OPTION.sub(lambda found: _known(_field(found[1]), fields, found[0]), clause)


def _known(field: str, fields: set[str], text: str) -> str:
    return field if field in fields else text
