"""Every option and its knobs in the words of its YAML file, for `--help` and `task=options`.

Only text is read, and only the standard library is needed: `--help` stays quick.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = """\
                                             the default run
dataset=digits unlearning=retrain seed=1     other options and values
poison.rate=0.03 discovery.share=0.2         any setting below
-m experiment=potion_smoke                   a sweep: the grid of an experiment
-m dataset=digits seed=0,1 unlearning=retrain,xlf_ptn
task=plan experiment=potion_small            what a sweep takes; nothing runs
task=options group=unlearning                one group with all its knobs
--cfg job                                    the whole configuration"""
LINE = re.compile(r"^( *)([\w.]+):(?:\s+([^#\s].*?))?\s*(?:\s#\s*(.*))?$")
GROUP = re.compile(r"^ +- (\w+): (\S+) +# (.*)$")
REFERENCE = re.compile(r"[\w/]+(?:@\w+)?")
WIDTH = 100


@dataclass(frozen=True)
class Option:
    """One YAML file: `head`, its comment; `refers`, the options it is made of.

    `knobs`: (dotted name from the root of the configuration, value, comment).
    """

    group: str
    name: str
    head: str
    refers: tuple[str, ...]
    knobs: tuple[tuple[str, str, str], ...]

    @property
    def brief(self) -> str:
        """The first line of its comment."""
        return self.head.partition("\n")[0]


def option(group: str, path: Path) -> Option:
    lines = path.read_text(encoding="utf-8").splitlines()
    said = [line for line in lines if not line.startswith("# @package")]
    comment = [line.removeprefix("#").strip() for line in takewhile_comment(said)]
    refers, rest = apart(said[len(comment) :])
    above = "" if "# @package _global_" in lines else f"{group.partition('/base')[0]}."
    found = tuple((above + name, value, told) for name, value, told in knobs(rest))
    return Option(group, path.stem, "\n".join(comment), refers, found)


def takewhile_comment(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        yield line


def apart(lines: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """(what the defaults list refers to, all other lines)."""
    refers: list[str] = []
    rest: list[str] = []
    listing = False
    for line in lines:
        if line.startswith("defaults:"):
            listing = True
            refers += REFERENCE.findall(line.removeprefix("defaults:"))
        elif listing and line.startswith(("  -", "  #")):
            entry = line.partition("#")[0].strip().removeprefix("-").strip()
            # one that overrides says what another group is to be: ": " is in it
            refers += [entry] * (bool(entry) and entry != "_self_")
        else:
            listing = False
            rest.append(line)
    return tuple(refers), rest


def knobs(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """(dotted name, value, comment) of each setting in the file."""
    path: list[tuple[int, str]] = []
    for line in lines:
        found = LINE.match(line)
        if found is None:
            continue
        indent, name, value, comment = len(found[1]), found[2], found[3], found[4] or ""
        path = [(depth, above) for depth, above in path if depth < indent]
        if value is None:
            path.append((indent, name))
        if name not in ("_target_", "_partial_") and (value is not None or comment):
            dotted = ".".join([*(above for _, above in path if above != name), name])
            yield dotted, value or "", comment


def options(folders: Sequence[Path]) -> dict[str, list[Option]]:
    """The options of each group, those of the folder that Hydra looks into first before others."""
    found: dict[str, dict[str, Option]] = {}
    for folder in folders:
        for path in sorted(folder.glob("**/*.yaml"), key=by_number):
            group = path.parent.relative_to(folder).as_posix()
            if group != ".":
                found.setdefault(group, {}).setdefault(path.stem, option(group, path))
    return {group: list(named.values()) for group, named in sorted(found.items())}


def by_number(path: Path) -> tuple[Path, float, str]:
    """0_2pct, 1pct, 1_5pct, 10pct; other names by their letters."""
    found = re.match(r"(\d+)(?:_(\d+))?pct$", path.stem)
    return path.parent, float(f"{found[1]}.{found[2] or 0}") if found else 0.0, path.stem


def to_choose(group: str) -> bool:
    """Not of files that are parts of options, nor of what antidote sets in Hydra once for all."""
    settled = group.startswith("hydra/") and group != "hydra/launcher"
    return "base" not in group.split("/") and not settled


def help_text(folders: Sequence[Path], command: str) -> str:
    """All groups, each option with the first line of its comment; the settings; examples.

    `command`: what is typed.
    """
    root = config(folders)
    about = {m[1]: (m[2], m[3]) for m in map(GROUP.match, root) if m}
    found = {g: o for g, o in options(folders).items() if to_choose(g)}
    order = [*(g for g in about if g in found), *(g for g in found if g not in about)]
    parts = ["antidote: poison a training set, unlearn the poison, measure what came of it."]
    parts.append(f"Usage: {command} [-m] [group=option ...] [setting=value ...]")
    for group in order:
        default, comment = about.get(group, ("", ""))
        head = group + (f": {comment}" if comment else "") + (f" ({default})" if default else "")
        parts.append("\n".join([head, *listed(found[group])]))
    settings = [line for line in root if LINE.match(line) and not line.startswith((" ", "default"))]
    settings = [line for line in settings if not line.startswith("hydra")]
    parts.append("\n".join(["Settings", *("  " + line for line in settings)]))
    parts.append(
        "\n".join(["Examples", *(f"  {command} {line}" for line in EXAMPLES.splitlines())])
    )
    return "\n\n".join(parts) + "\n"


def config(folders: Sequence[Path]) -> list[str]:
    """The lines of the config that everything starts from."""
    first = next(folder for folder in folders if (folder / "config.yaml").is_file())
    return (first / "config.yaml").read_text(encoding="utf-8").splitlines()


def listed(options: Sequence[Option]) -> Iterator[str]:
    """A line each; names that say all by themselves share one."""
    mute = [o.name for o in options if not o.head]
    if mute:
        yield from wrapped("  " + ", ".join(mute), "  ")
    width = max([0, *(len(o.name) for o in options if o.head)])
    for o in options:
        if o.head:
            yield from wrapped(f"  {o.name:<{width}}  {o.brief}", " " * (width + 4))


def group_text(folders: Sequence[Path], group: str) -> str | None:
    """One group: each option with its whole comment and its knobs; None if there is no such."""
    found = options(folders)
    if group not in found or not to_choose(group):
        return None
    shared = {o.name: o for o in found.get(f"{group}/base", [])}
    parts = ["\n".join(described(f"{group}={o.name}", o)) for o in found[group]]
    used = {r.partition("@")[0].removeprefix("base/") for o in found[group] for r in o.refers}
    while (
        more := {r.partition("@")[0] for name in used & set(shared) for r in shared[name].refers}
        - used
    ):
        used |= more
    parts += ["\n".join(described(f"base/{n}", shared[n])) for n in shared if n in used]
    return "\n\n".join(parts) + "\n"


def described(title: str, o: Option) -> Iterator[str]:
    yield title
    for line in o.head.splitlines():
        yield from wrapped(f"  {line}", "  ")
    refers = [said(reference) for reference in o.refers]
    if refers:
        yield f"  knobs of {', '.join(refers)}" + (" and" if o.knobs else "")
    width = min(44, max([0, *(len(name) for name, _, _ in o.knobs)]))
    for name, value, comment in o.knobs:
        line = f"    {name:<{width}}  {value}"
        yield from wrapped(f"{line:<{width + 22}}  # {comment}" if comment else line, " " * 8)


def said(reference: str) -> str:
    """ "base/ptn@_here_" as base/ptn, "xlf@method" as "xlf (under method)"."""
    name, _, place = reference.partition("@")
    return name if place in ("", "_here_") else f"{name} (under {place})"


def wrapped(line: str, indent: str) -> list[str]:
    return textwrap.wrap(
        line, WIDTH, subsequent_indent=indent, drop_whitespace=True, break_long_words=False
    )
