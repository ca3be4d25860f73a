"""The SDK, loaded as quickly as it can be: a client waits for it at every start of its host."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec

# Packages whose `__init__` gathers what a server over a pipe has no use for: the client, its HTTP
# library, authorisation, the second server class.
GATHERING = ("mcp", "mcp.server")


@contextmanager
def quick_imports(*, only_server: bool) -> Iterator[None]:
    """Load what is imported in here without what this process will not use.

    The SDK defines six hundred pydantic models, each built with its class although a session uses
    some twenty: here they wait for their first use, by pydantic's own switch `defer_build`. With
    `only_server` the packages that only gather names are entered without running their
    `__init__`. Together they save a quarter of the start. Garbage is not searched for meanwhile.
    Errors: ImportError when the SDK has moved things; load it plainly then.
    """
    from pydantic import BaseModel, ConfigDict

    kept = BaseModel.model_config
    BaseModel.model_config = ConfigDict(defer_build=True)
    gc.disable()
    try:
        if only_server:
            _enter(GATHERING)
        yield
    except ImportError:
        for name in [name for name in sys.modules if name.split(".")[0] == "mcp"]:
            del sys.modules[name]
        raise
    finally:
        BaseModel.model_config = kept
        gc.freeze()
        gc.enable()


def _enter(packages: tuple[str, ...]) -> None:
    """Let modules of these packages be imported although nothing of the packages ran."""
    for name in packages:
        spec = None if name in sys.modules else find_spec(name)
        if spec is None:
            return
        module = module_from_spec(spec)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
