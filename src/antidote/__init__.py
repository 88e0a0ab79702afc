"""antidote from Python; each name is imported when it is first used (docs/python.md)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antidote.core import BadInput, Loader, Samples, Split, Victim
    from antidote.door.python import build, results, run, sweep

__all__ = [
    "BadInput",
    "Loader",
    "Samples",
    "Split",
    "Victim",
    "build",
    "results",
    "run",
    "sweep",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'antidote' has no attribute {name!r}")
        home = "antidote.core" if name[0].isupper() else "antidote.door.python"
        return getattr(import_module(home), name)

    def __dir__() -> list[str]:
        return [*globals(), *__all__]
