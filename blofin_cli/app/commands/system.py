"""The program about itself: guides and settings."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Name, Request, Result, command, shown, to_record
from blofin_cli.errors import ConfigError, RefusedError, UsageError


class GuideRequest(Request):
    """Which page to show."""

    name: Annotated[Name | None, Field(description="Page to show; without it, the list")] = None


class GuidePage(Result):
    """One page, with its text only when it was asked for by name."""

    name: str
    title: str
    body: str | None = None


class GuideResult(Result):
    """The pages there are, or the one asked for."""

    guides: list[GuidePage]

    columns: ClassVar[tuple[str, ...]] = ("name", "title")

    def text(self) -> str:
        """The page itself, when one was asked for."""
        return "".join(page.body or "" for page in self.guides)


@command(effect=Effect.READ, positional=("name",))
async def guide(request: GuideRequest, context: Context) -> GuideResult:
    """List the guides, or show one.

    Example: blofin guide cli
    """
    del context
    pages = _guide_pages()
    if request.name is None:
        listed = [GuidePage(name=name, title=_heading(body)) for name, body in pages.items()]
        return GuideResult(guides=listed)
    body = pages.get(request.name)
    if body is None:
        raise UsageError(f"no guide is called {request.name}", hint="one of " + ", ".join(pages))
    return GuideResult(guides=[GuidePage(name=request.name, title=_heading(body), body=body)])


def _guide_pages() -> dict[str, str]:
    folder = files("blofin_cli") / "guides"
    pages = sorted((page for page in folder.iterdir()), key=lambda page: page.name)
    return {
        page.name.removesuffix(".md"): page.read_text(encoding="utf-8")
        for page in pages
        if page.name.endswith(".md")
    }


def _heading(body: str) -> str:
    return body.partition("\n")[0].lstrip("# ")


class ConfigRequest(Request):
    """What to do with the settings."""

    action: Annotated[
        Literal["show", "set", "unset", "init", "key"],
        Field(description="Show; change one; write a file to start from; store an API key"),
    ] = "show"
    name: Annotated[
        str | None,
        Field(description="Setting or section; for key the account: live, demo", max_length=80),
    ] = None
    value: Annotated[str | None, Field(description="New value, for set", max_length=1000)] = None
    project: Annotated[
        bool, Field(description="In ./blofin.toml; default: there if it exists, else the user's")
    ] = False

    @model_validator(mode="after")
    def _words_belong_together(self) -> Self:
        """Refused here, before anything is kept of what was typed: it may be a secret."""
        from blofin_cli.app.settings import holds_secret

        if self.action == "key" and self.value is not None:
            raise ValueError("a key is never typed as an argument: blofin config key demo asks")
        if self.value is not None and holds_secret(self.name or ""):
            raise ValueError(f"{shown(self.name)} is a secret and never typed as an argument")
        if (self.action == "set") != (self.value is not None):
            raise ValueError("write blofin config set NAME VALUE")
        if self.action in {"set", "unset", "key"} and self.name is None:
            raise ValueError(f"write blofin config {self.action} NAME")
        return self

    def effect(self, declared: Effect) -> Effect:
        """Showing changes nothing."""
        return declared if self.action == "show" else Effect.WRITE


class Setting(Result):
    """One setting in force."""

    key: str
    value: Any
    origin: str
    about: str


class ConfigResult(Result):
    """Settings in force and the source each came from; `file` is what was written."""

    settings: list[Setting]
    file: str | None = None
    note: str = ""

    columns: ClassVar[tuple[str, ...]] = ("key", "value", "origin")

    def rows(self) -> list[dict[str, Any]]:
        """One record a setting."""
        return [to_record(setting) for setting in self.settings]

    def summary(self) -> list[tuple[str, object]]:
        """What was written, if anything was."""
        lines = (("written", self.file), ("note", self.note))
        return [(name, text) for name, text in lines if text]


@command(effect=Effect.READ, positional=("action", "name", "value"), tool="get_config")
async def config(request: ConfigRequest, context: Context) -> ConfigResult:
    """Show every setting with the source it came from; change one; store a key.

    `config show web` shows one section, `config init` writes a file with every setting as a
    comment, `config set web.port 9000` changes one, and `config key demo` asks for the parts of an
    API key and keeps them in the keyring or in a file that only you can read.

    Example: blofin config show
    """
    if request.action != "show" and context.face == "mcp":
        raise RefusedError("an agent cannot change settings", hint="a person can: blofin config")
    match request.action:
        case "show":
            return ConfigResult(settings=_settings_in_force(context, request.name))
        case "init":
            return ConfigResult(settings=[], file=_init(request))
        case "key":
            return _store_key(request.name or "", context)
    return _change(request, context)


def _settings_in_force(context: Context, name: str | None) -> list[Setting]:
    from blofin_cli.app.settings import every_setting

    found = [
        Setting(key=path, value=value, origin=origin, about=about)
        for path, value, origin, about in every_setting(context.loaded)
        if name is None or path == name or path.startswith(f"{name}.")
    ]
    if not found and name != "strategy":
        raise UsageError(f"no setting is called {shown(name)}", hint="see: blofin config show")
    return found


def _file_of(request: ConfigRequest) -> Path:
    from blofin_cli.app import config as places

    return places.PROJECT_FILE if request.project else places.nearest_file()


def _init(request: ConfigRequest) -> str:
    from blofin_cli.app import config as places
    from blofin_cli.app.settings import replace_file, template

    user_file = places.user_config_folder() / places.PROJECT_FILE.name
    path = places.PROJECT_FILE if request.project else user_file
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path} is there already", hint="it was left as it is")
    replace_file(path, template())
    return str(path)


def _change(request: ConfigRequest, context: Context) -> ConfigResult:
    from blofin_cli.app.settings import every_setting, load, write_setting

    name = request.name or ""
    file = write_setting(name, request.value, file=_file_of(request))
    loaded = load({} if context.state_override is None else {"state": context.state_override})
    rows = [row for row in every_setting(loaded) if row[0] == name]
    note = ""
    if request.action == "set" and rows and Path(rows[0][2]).resolve() != file:
        note = f"{rows[0][2]} is nearer and still decides"
    settings = [Setting(key=k, value=v, origin=o, about=a) for k, v, o, a in rows]
    return ConfigResult(settings=settings, file=str(file), note=note)


def _store_key(account: str, context: Context) -> ConfigResult:
    """Ask for the parts of a key in the terminal, unseen, and keep them."""
    from blofin_cli.app import keys

    if keys.ACCOUNT.fullmatch(account) is None:
        raise UsageError(f"no account is called {shown(account)}", hint="live, demo or ccxt-NAME")
    if context.secret is None:
        raise RefusedError(
            "a key is typed by a person in a terminal",
            hint=f"or write it under [{account}] in {keys.file_path()} and chmod 600 that",
        )
    parts = {part: context.secret(f"{account} {part}") for part in ("key", "secret", "passphrase")}
    place = keys.store(account, parts)
    return ConfigResult(
        settings=[],
        file=place,
        note=f"blofin doctor --mode {account} tries it" if account in {"live", "demo"} else "",
    )
