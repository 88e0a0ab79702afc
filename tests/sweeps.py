"""A sweep that is set up in this process but not run."""

from contextlib import contextmanager
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

CONF = Path(__file__).parents[1] / "conf"


@contextmanager
def set_up(*overrides: str):
    """As Hydra leaves it for a task that looks at a sweep; yields its config."""
    places = [f"hydra.runtime.{name}=/nowhere" for name in ("cwd", "output_dir")]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        cfg = hydra.compose_config(
            "config", [*overrides, *places], RunMode.MULTIRUN, with_log_configuration=False
        )
        HydraConfig.instance().set_config(cfg)
        yield cfg
