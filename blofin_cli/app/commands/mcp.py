"""The server for agents, as a word on the command line."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Request, Result, command
from blofin_cli.errors import UsageError

PORT = 8790


class McpRequest(Request):
    """What to serve, to whom, and how."""

    action: Annotated[
        Literal["serve", "install", "inspect"],
        Field(description="Serve; write a client's configuration; list the tools"),
    ] = "serve"
    client: Annotated[
        Literal["cursor", "claude", "vscode"] | None,
        Field(description="The client to install for"),
    ] = None
    toolset: Annotated[
        str | None,
        Field(
            description="Groups of tools beside the default ones: research, all; -NAME removes "
            "one; default from the settings",
            max_length=200,
        ),
    ] = None
    allow_trading: Annotated[
        bool,
        Field(description="List the tools that trade, within the mandate; also a setting"),
    ] = False
    http: Annotated[bool, Field(description="Serve HTTP on loopback instead of stdio")] = False
    port: Annotated[int, Field(description="Port for --http, 0 for a free one", ge=0, le=65535)] = (
        PORT
    )
    token_file: Annotated[
        str | None,
        Field(description="File with the token for --http; default beside the state, made for you"),
    ] = None
    print: Annotated[
        bool, Field(description="On install: show the configuration, write nothing")
    ] = False

    @model_validator(mode="after")
    def _client_belongs_to_install(self) -> Self:
        if (self.action == "install") != (self.client is not None):
            raise ValueError("say which client: blofin mcp install cursor, claude or vscode")
        return self


class McpTool(Result):
    """One tool as an agent meets it; a token is counted as four characters."""

    tool: str
    command: str
    effect: str
    group: str
    tokens: int
    title: str


class McpResult(Result):
    """What `install` wrote or `inspect` found."""

    tools: list[McpTool] = Field(default_factory=list)
    tokens: int | None = None
    path: str | None = None
    written: bool = False
    configuration: dict[str, Any] = Field(default_factory=dict)

    columns: ClassVar[tuple[str, ...]] = ("tool", "command", "effect", "group", "tokens")


@command(effect=Effect.READ, positional=("action", "client"))
async def mcp(request: McpRequest, context: Context) -> McpResult:
    """Serve agents over MCP: look, test, plan and, within a signed mandate, trade.

    An agent can never raise a limit, approve its own order or clear a halt. stdio is for Cursor and
    other programs that start the server themselves; `--http` listens on loopback and wants a token.

    Example: blofin mcp inspect
    """
    del request, context
    raise UsageError("mcp opens a server of its own", hint="run blofin mcp")
