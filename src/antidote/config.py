"""Reading a composed config: what it names, what it builds, what it is the identity of."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from antidote.checks import BadInput

# what changes where or how fast a run happens, but not what it finds
ELSEWHERE = (
    "output",
    "data_folder",
    "logger",
    "task",
    "cache",
    "resume",
    "threads",
    "progress",
    "save_models",
    "pictures",
)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The whole resolved config as dicts."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def content(cfg: DictConfig) -> dict[str, Any]:
    """What determines a result: the resolved config without `ELSEWHERE`.

    Nor with `flags`: they act only where a group refers to them, so a method that does not is the
    same cell whatever they are.
    """
    raw = OmegaConf.to_container(cfg)
    assert isinstance(raw, dict)
    # emptied before they are resolved, so that no path gets in through ${data_folder}
    resolved = plain(OmegaConf.create(raw | dict.fromkeys(ELSEWHERE)))
    return {key: value for key, value in resolved.items() if key not in (*ELSEWHERE, "flags")}


def threads_of(cfg: DictConfig) -> int:
    """Threads that a job computes with."""
    return (os.cpu_count() or 1) if cfg.threads is None else cfg.threads


def short_hash(thing: Any) -> str:
    """Of anything JSON can hold."""
    return hashlib.sha256(json.dumps(thing, sort_keys=True).encode()).hexdigest()[:16]


def identity(cfg: DictConfig) -> dict[str, Any]:
    """What a result is of: hash of its `content`, seed, names on the command line."""
    return {"config_hash": short_hash(content(cfg)), "seed": cfg.seed, **choices()}


def choices() -> dict[str, str]:
    """The options chosen in the groups that make a cell of a grid."""
    chosen = HydraConfig.get().runtime.choices
    return {
        group: chosen[group]
        for group in ("dataset", "model", "recipe", "poison", "discovery", "unlearning")
    }


def build(cfg: DictConfig, group: str) -> Any:
    """The object a group describes; settings its constructor cannot take end in one sentence."""
    try:
        return instantiate(cfg[group])
    except Exception as error:
        if bad_input(error):
            raise
        cause = error.__cause__ or error
        raise BadInput(
            f"{group} cannot be built from its settings: {type(cause).__name__}: {cause}"
        ) from error


def bad_input(error: BaseException | None) -> BadInput | None:
    """The `BadInput` behind an error: Hydra wraps what a constructor raises."""
    while error is not None and not isinstance(error, BadInput):
        error = error.__cause__
    return error


def log_file(out: Path) -> Path:
    """Where Hydra logs to."""
    return out / f"{HydraConfig.get().job.name}.log"
