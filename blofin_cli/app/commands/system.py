"""The program about itself: guides and settings."""

from importlib.resources import files
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Name, Request, Result, command
from blofin_cli.errors import UsageError


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

    action: Annotated[Literal["show"], Field(description="What to do")] = "show"


class Setting(Result):
    """One setting in force."""

    key: str
    value: Any
    origin: str


class ConfigResult(Result):
    """Every setting in force and the source it came from."""

    settings: list[Setting]


@command(effect=Effect.READ, positional=("action",), tool="get_config")
async def config(request: ConfigRequest, context: Context) -> ConfigResult:
    """Show every setting with the source it came from.

    Example: blofin config show
    """
    del request
    values = context.settings.model_dump()
    flat = {**values, **{f"strategy.{key}": item for key, item in values["strategy"].items()}}
    del flat["strategy"]
    origins = context.loaded.origins
    return ConfigResult(
        settings=[
            Setting(key=key, value=value, origin=origins.get(key, "default"))
            for key, value in flat.items()
        ]
    )
