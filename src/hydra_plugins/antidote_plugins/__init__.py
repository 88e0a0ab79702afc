"""What antidote adds to Hydra: sweeper, launchers, help, numbers as options, and ./conf.

Hydra imports this module at every start, so it imports nothing heavy.
"""

from __future__ import annotations

import logging
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath, SearchPathElement
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

log = logging.getLogger(__name__)


class GridSweeper(Sweeper):
    """Hands the grid to `antidote.task.sweep`; a task that is no job is done once."""

    def __init__(self, params: Mapping[str, str] | None) -> None:
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        def launcher() -> Launcher:
            return Plugins.instance().instantiate_launcher(
                hydra_context=hydra_context, task_function=task_function, config=config
            )

        self.whole, self.make_launcher = config, launcher

    def sweep(self, arguments: list[str]) -> Any:
        if "job" in self.whole.task:
            log.info("a sweep; working out its jobs")
        from antidote.task.sweep import sweep

        return sweep(self.whole, self.make_launcher)


class RowsSweeper(GridSweeper):
    """For a call from Python, to which the grid's rows are handed."""

    def sweep(self, arguments: list[str]) -> Any:
        from antidote.task.sweep import rows

        return rows(self.whole, self.make_launcher)


class Start(Callback):
    """What comes first: a line within a second, and the refusal of an output beyond reach."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        HydraConfig.instance().set_config(config)  # as Hydra does it next; paths refer to it
        if "job" in config.task:  # the others read
            self.check(config.output, config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        HydraConfig.instance().set_config(config)
        if "job" in config.task:
            self.check(config.output)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if "job" not in config.task:
            return
        from antidote.engine.labels import run_name  # imports nothing

        with suppress(OmegaConfBaseException, KeyError):  # wrong settings are refused later
            cfg = config.copy()
            with open_dict(cfg):
                hydra = cfg.pop("hydra")
            job = OmegaConf.select(hydra, "job.num")
            settings: Any = OmegaConf.to_container(cfg, resolve=True)
            name = run_name(settings, hydra.runtime.choices)
            log.info("%s%s", "" if job is None else f"job {job}: ", name)

    def check(self, *folders: str) -> None:
        for folder in folders:
            path = Path(folder).expanduser()
            try:
                path.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=path):
                    pass
            except OSError as error:
                raise SystemExit(
                    f"error: nothing can be written to {path} ({error.strerror}); choose another "
                    "output, as in output=/tmp/multirun"
                ) from None


def rate(number: float) -> dict[str, Any]:
    return {"poison_rate": number}


def discovery(number: float) -> dict[str, Any]:
    """A whole number counts samples, any other is a share."""
    how: dict[str, Any] = {"count": number} if isinstance(number, int) else {"share": number}
    return {"defaults": ["base/draw@_here_", "_self_"], **how}


def budget(share: float) -> dict[str, Any] | None:
    """None for what is no share: budget=10 is not 10pct."""
    if not 0 < share <= 1:
        return None
    target = "antidote.unlearning.budget.Budget"
    return {"budget": {"_target_": target, "share": share, "recipe": "${recipe}"}}


# groups in which a bare number is an option: poison_rate=0.03, discovery=7, budget=0.05
GROUPS: dict[str, tuple[str | None, Callable[[float], dict[str, Any] | None]]] = {
    "poison_rate": ("_global_", rate),
    "discovery": (None, discovery),
    "budget": ("_global_", budget),
}


def home(path: str) -> str:
    """${home:...}: a path with ~ spelled out, for folders that Hydra itself makes."""
    return str(Path(path).expanduser())


OmegaConf.register_new_resolver("home", home, replace=True)
HOME = re.compile(r"^([^=]+=['\"]?)~(?=/|['\"]?$)")


def at_home(argument: str) -> str:
    """output=~/x as some shells hand it over: with the home folder spelled out."""
    return HOME.sub(lambda found: found[1] + str(Path.home()), argument)


LONG = 2000  # letters of an argument that is a list rather than a path


def readable(argument: str) -> str:
    """dataset.folder=/x/pics (1) in quotes: what Hydra's grammar does not know is a text."""
    key, equals, value = argument.partition("=")
    if not equals or argument.startswith("-") or len(argument) > LONG:
        return argument
    try:
        OverridesParser.create().parse_override(argument)
        return argument
    except HydraException:
        text = QuotedString(text=value, quote=Quote.single).with_quotes()
        return f"{key}={text}"


# what Hydra reads as something else than a text
NUMBER = re.compile(
    r"(?<=[=,])(?:[-+]?(?:[0-9.]+(?:e[-+]?[0-9]+)?|inf|nan)|true|false|null)(?=,|$)", re.IGNORECASE
)


def quoted(argument: str) -> str:
    """poison_rate=0.03 as poison_rate='0.03': to Hydra the name of an option must be a string.

    In any group, so that model=3 and tracing=true are refused as options that are not there.
    """
    from antidote.door.place import CONF, own

    group = argument.partition("=")[0].lstrip("+")
    if not group or not any((folder / group).is_dir() for folder in (CONF, own()) if folder):
        return argument
    return NUMBER.sub(lambda number: f"'{number[0]}'", argument)


class Numbers(ConfigSource):
    """The options that are numbers."""

    @staticmethod
    def scheme() -> str:
        return "antidote-numbers"

    def available(self) -> bool:
        return True

    def load_config(self, config_path: str) -> ConfigResult:
        found = self.read(config_path)
        if found is None:
            raise ConfigLoadError(f"{config_path} is no number of a group that takes numbers")
        package, settings = found
        return ConfigResult(
            config=OmegaConf.create(settings),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header={"package": package},
        )

    def read(self, config_path: str) -> tuple[str | None, dict[str, Any]] | None:
        group, _, name = config_path.removesuffix(".yaml").rpartition("/")
        if group not in GROUPS:
            return None
        try:
            number = float(name) if "." in name or "e" in name.lower() else int(name)
        except ValueError:
            return None
        package, write = GROUPS[group]
        settings = write(number)
        return None if settings is None else (package, settings)

    def is_group(self, config_path: str) -> bool:
        return False

    def is_config(self, config_path: str) -> bool:
        return self.read(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []


class SearchPath(SearchPathPlugin):
    """Numbers are found everywhere; launchers of ours are not mixed with a plugin's namesakes."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for place in search_path.get_path():
            replace_launchers(*source_of(place))
        search_path.append("antidote", "antidote-numbers://")


def folders() -> list[Path]:
    """Where options are found, in the order in which Hydra looks."""
    sources = GlobalHydra.instance().config_loader().get_sources()
    return [Path(s.path) for s in sources if s.scheme() == "file"]


def help_text(command: str) -> str:
    """For Hydra, to which $ is the start of a field, and which prints it as its last act."""
    from antidote.report.options import help_text

    if {"-h", "--help"} & {*sys.argv} and hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--help | head` is no trouble
    return help_text(folders(), command).replace("$", "$$")


OmegaConf.register_new_resolver("antidote_help", help_text, replace=True)


class OwnOptions(SearchPathPlugin):
    """Options of one's own in ./conf, after antidote's; other Hydra programs are left alone."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from antidote.door.place import CONF, own

        main = {
            e.path.removeprefix("file://") for e in search_path.get_path() if e.provider == "main"
        }
        here = own() if any(Path(path).resolve() == CONF for path in main) else None
        if here is not None:
            search_path.append("own", f"file://{here}")


def source_of(place: SearchPathElement) -> list[ConfigSource]:
    """What reads the options of a place; none for a scheme that nobody has registered."""
    path = place.path or ""
    scheme = path.partition("://")[0] if "://" in path else "file"
    kinds: list[Any] = list(Plugins.instance().discover(ConfigSource))
    return [kind(place.provider or "", path) for kind in kinds if kind.scheme() == scheme]


def replace_launchers(*sources: ConfigSource) -> None:
    """Hydra would check and fill our options by those that plugins have registered by that name.

    Only where our options are: other applications keep what the plugins have.
    """
    registered = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for source in sources:
        for name in list(registered):
            option = f"hydra/launcher/{name}"
            if not source.is_config(option):
                continue
            target = OmegaConf.select(source.load_config(option).config, "_target_")
            if str(target).startswith(f"{__name__}."):
                del registered[name]
