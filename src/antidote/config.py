"""Reading a composed config: what it names, what it builds, what it is the identity of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from antidote.core import BadInput

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


def identity(cfg: DictConfig) -> dict[str, Any]:
    """What a result is of: hash of the config without `ELSEWHERE`, names on the command line."""
    # emptied before they are resolved, so that no path gets in through ${data_folder}
    content = plain(OmegaConf.merge(cfg, dict.fromkeys(ELSEWHERE)))  # type: ignore[arg-type]
    text = json.dumps(content, sort_keys=True)
    return {
        "config_hash": hashlib.sha256(text.encode()).hexdigest()[:16],
        "seed": cfg.seed,
        **choices(),
    }


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
