"""The only way to compile, and the one decision of when it pays.

A kernel is a plain Python function over scalars, columns and records. A small job calls it as it
is, on lists, which is quicker than loading a compiler; a large job calls the same function
compiled by numba, on arrays. Both give the same bits, because a kernel uses + - * / sqrt, floor
and comparisons only, and allocates nothing.

numba sees a change in a function's own file but not in a function it calls from another file, so
the cache folder carries a digest of the package's source. Array reference counting is off
(`_nrt=False`, a private option, hence the pinned minor version of numba): a kernel that allocates
nothing needs none, and its loops run four times faster without. Kernels are inlined into each
other, since a call would copy every array's descriptor: fourteen times faster again.
"""

import hashlib
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar, TypeVar, get_type_hints

import numpy as np

# Loading a warm compiler takes half a second. Interpreted, so long take about this many bars of a
# whole pipeline, or this many of a single kernel.
COMPILE_FROM_JOB_BARS = 100_000
COMPILE_FROM_WORK_BARS = 400_000

F = TypeVar("F", bound=Callable[..., Any])

_kernels: set[Callable[..., Any]] = set()
_forced: list[bool] = []


def kernel(function: F) -> F:
    """Mark a function as a kernel; it stays the plain function it was."""
    _kernels.add(function)
    return function


class Record:
    """A row of named numbers that kernels read and change.

    A subclass declares `float` and `int` fields. Compiled, it is a row of a structured array;
    interpreted, an object with the same attributes.
    """

    _dtype: ClassVar[np.dtype[np.void]]
    _row: ClassVar[type]

    def __init_subclass__(cls) -> None:
        fields = {k: v for k, v in get_type_hints(cls).items() if v in (int, float)}
        codes = [(name, np.int64 if kind is int else np.float64) for name, kind in fields.items()]
        cls._dtype = np.dtype(codes, align=True)
        _row_classes[cls._dtype] = type(cls.__name__, (), {"__slots__": tuple(fields)})

    @classmethod
    def rows(cls, count: int) -> np.ndarray[Any, np.dtype[np.void]]:
        """`count` rows of zeros."""
        return np.zeros(count, cls._dtype)


_row_classes: dict[Any, type] = {}


@contextmanager
def forced(compile_kernels: bool) -> Iterator[None]:
    """Compile always, or never, inside the block: for tests that hold one against the other."""
    _forced.append(compile_kernels)
    try:
        yield
    finally:
        _forced.pop()


def wants_compiler(work_bars: int) -> bool:
    """Whether a job of this size is worth the compiler; once loaded it always is."""
    if _forced:
        return _forced[-1]
    if "numba" in sys.modules:
        return True
    return work_bars >= COMPILE_FROM_WORK_BARS and find_spec("numba") is not None


def prepare(job_bars: int) -> bool:
    """Load the compiler when a whole job will be worth it; True if kernels are not cached yet.

    `job_bars` counts every bar as often as the job will pass over it.
    """
    if _forced or job_bars < COMPILE_FROM_JOB_BARS or find_spec("numba") is None:
        return False
    import numba

    del numba
    return not any(_cache_folder().glob("*/*.nbi"))


def call(function: Callable[..., Any], *arguments: Any, work_bars: int) -> Any:
    """Run a kernel on arrays; `work_bars` is how many bars it will look at.

    Rows of records, and arrays given by themselves, may be changed in place whichever way the
    kernel runs; plain columns inside a tuple are read only.
    """
    if wants_compiler(work_bars):
        return compiled(function)(*(_fit(argument) for argument in arguments))
    plain = tuple(_plain(argument) for argument in arguments)
    result = function(*plain)
    for argument, copy in zip(arguments, plain, strict=True):
        _copy_back(argument, copy)
    return result


@cache
def compiled(function: Callable[..., Any], is_inner: bool = False) -> Callable[..., Any]:
    """The kernel compiled, with every kernel it calls.

    Only the outermost is called from Python, so only it gets the wrappers that unpack arguments
    (dear to compile for a desk of forty arrays) and a file in the cache.
    """
    import numba

    numba.config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]
    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        if scope.get(name) in _kernels:
            scope[name] = compiled(scope[name], is_inner=True)
    twin = FunctionType(function.__code__, scope, function.__name__, function.__defaults__)
    twin.__qualname__ = function.__qualname__
    twin.__module__ = function.__module__
    jit: Any = numba.njit
    options: dict[str, Any] = {"forceinline": True}
    if is_inner:
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    else:
        options["cache"] = True
    try:
        return jit(_nrt=False, **options)(twin)  # type: ignore[no-any-return]
    except TypeError:
        return jit(**options)(twin)  # type: ignore[no-any-return]


@cache
def source_digest() -> str:
    """Digest of the source that decides and computes: the folders core and engine."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted([*package.glob("core/*.py"), *package.glob("engine/*.py")]):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _cache_folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("blofin-cli") / "kernels" / source_digest()[:16]


def _plain(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        if argument.dtype.names is None:
            return argument.tolist()
        return _Rows(argument)
    if _holds_arrays(argument):
        return type(argument)(*(_plain(item) for item in argument))
    return argument


class _Rows(dict[int, Any]):
    """Rows of a structured array as objects, each made when a kernel first touches it."""

    def __init__(self, array: np.ndarray[Any, Any]):
        super().__init__()
        self.array = array
        self.row_class = _row_classes[array.dtype]
        self.names = array.dtype.names or ()

    def __missing__(self, index: int) -> Any:
        row = self[index] = self.row_class()
        for name, value in zip(self.names, self.array[index].item(), strict=True):
            setattr(row, name, value)
        return row

    def __len__(self) -> int:
        return len(self.array)

    def write_back(self) -> None:
        for index, row in self.items():
            self.array[index] = tuple([getattr(row, name) for name in self.names])


def _fit(argument: Any) -> Any:
    # A read-only or strided column is another type to numba, hence another compilation.
    if isinstance(argument, np.ndarray):
        return argument if argument.flags.carray else np.array(argument)
    if isinstance(argument, tuple):
        fitted = [_fit(item) for item in argument]
        is_same = all(map(operator.is_, fitted, argument))
        return argument if is_same else type(argument)(*fitted)
    return argument


def _holds_arrays(argument: Any) -> bool:
    return isinstance(argument, tuple) and any(
        isinstance(item, np.ndarray) or _holds_arrays(item) for item in argument
    )


def _copy_back(argument: Any, plain: Any) -> None:
    if isinstance(plain, _Rows):
        plain.write_back()
    elif isinstance(argument, np.ndarray):
        if argument.flags.writeable:
            argument[:] = plain
    elif isinstance(argument, tuple):
        for item, copy in zip(argument, plain, strict=True):
            if isinstance(copy, _Rows | tuple):
                _copy_back(item, copy)
