"""The face for agents: every command that is a tool, over the Model Context Protocol."""

from pathlib import Path
from typing import TYPE_CHECKING

from blofin_cli.app import catalog, config
from blofin_cli.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from blofin_cli.app.commands.mcp import McpRequest, McpResult
    from blofin_cli.app.context import Context
    from blofin_cli.faces.mcp.toolset import Offer

TOKEN_FILE = "mcp-token"  # noqa: S105 - the name of the file, not what is in it


def open_face(request: "McpRequest", context: "Context") -> "int | McpResult":
    """Serve until the client leaves, or answer `install` and `inspect`.

    Errors: UsageError and ConfigError before anything is served.
    """
    if request.action == "install":
        return _install(request, context)
    if request.action == "inspect":
        return _inspect(request, context)
    if request.http:
        return _serve_http(request, context)

    return _serve_pipe(request, context)


def _serve_pipe(request: "McpRequest", context: "Context") -> int:
    from blofin_cli.faces.mcp.loading import quick_imports
    from blofin_cli.faces.mcp.stdout import claim_stdout

    wire = claim_stdout()
    offer = _offer(request, context)
    try:
        with quick_imports(only_server=True):
            from blofin_cli.faces.mcp.pipe import serve
    except ImportError:
        from blofin_cli.faces.mcp.pipe import serve
    return serve(wire, offer, context.state_override)


def _serve_http(request: "McpRequest", context: "Context") -> int:
    from blofin_cli.faces.mcp.http import serve

    offer = _offer(request, context)
    named = request.token_file
    token_file = context.state_folder / TOKEN_FILE if named is None else Path(named).expanduser()
    return serve(offer, request.port, token_file, context.state_override)


def _offer(request: "McpRequest", context: "Context") -> "Offer":
    """What was typed, else what is set. Broken settings must not keep an agent from halting."""
    from blofin_cli.faces.mcp.toolset import offer_of

    toolset, allow_trading = request.toolset, request.allow_trading
    try:
        if any("mcp" in layer.values for layer in config.layers()):  # typing them costs 0.1 s
            settings = context.settings.mcp
            toolset = settings.toolset if toolset is None else toolset
            allow_trading = allow_trading or settings.allow_trading
    except ConfigError as error:
        context.say(f"settings are ignored: {error.message}")
    specs = catalog.load_all().values()
    return offer_of(specs, toolset=toolset or "default", allow_trading=allow_trading)


def _install(request: "McpRequest", context: "Context") -> "McpResult":
    from blofin_cli.app.commands.mcp import McpResult
    from blofin_cli.faces.mcp import hosts

    assert request.client is not None
    typed = sorted({"http", "port", "token_file"} & request.model_fields_set)
    if typed:
        raise UsageError(
            f"--{typed[0].replace('_', '-')} is not for install: a client talks to the server it "
            "starts over stdio",
            hint="start blofin mcp --http yourself, and give the client its address and token",
        )
    _offer(request, context)  # a wrong group is refused before it stands in a file
    options = [] if request.toolset is None else ["--toolset", request.toolset]
    options += ["--allow-trading"] if request.allow_trading else []
    if context.state_override is not None:
        options += ["--state", _wherever(context.state_override)]
    host = hosts.host_of(request.client)
    server = hosts.entry(request.client, options)
    if not request.print:
        hosts.write(host, hosts.merged(host, server))
    return McpResult(
        path=str(host.path),
        written=not request.print,
        configuration={host.section: {hosts.NAME: server}},
    )


def _wherever(state: str) -> str:
    """A state as it is named from any folder: a client starts the server in one of its own."""
    return state if "://" in state else str(Path(state).expanduser().absolute())


def _inspect(request: "McpRequest", context: "Context") -> "McpResult":
    from blofin_cli.app.commands.mcp import McpResult, McpTool
    from blofin_cli.faces.mcp.schemas import tokens, tool_record

    offer = _offer(request, context)
    records = {name: tool_record(spec, offer) for name, spec in offer.tools.items()}
    return McpResult(
        tools=[
            McpTool(
                tool=name,
                command=spec.name,
                effect=spec.effect.value,
                group=offer.words(name).group,
                tokens=tokens([records[name]]),
                title=spec.title,
            )
            for name, spec in offer.tools.items()
        ],
        tokens=tokens(records.values()),
    )
