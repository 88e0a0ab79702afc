"""The command line in a child of this process, in which all imports are done: a second, not eight.

Only in the child is anything patched, so that it can be killed where a test wants it to be.
"""

import os
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from sqlalchemy import event
from sqlalchemy.engine import Engine

ROOT = Path(__file__).parents[1]


@dataclass
class Ended:
    """As subprocess has it: a status below 0 is a signal's."""

    returncode: int
    stdout: str
    stderr: str


class Child:
    """Runs `work` in a child; its output streams go to files."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.place = Path(tempfile.mkdtemp())
        for name in ("stdout", "stderr"):
            (self.place / name).touch()
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(self.status(work))

    def status(self, work: Callable[[], object]) -> int:
        """As the interpreter has it at its end."""
        try:
            self.alone()
            work()
            return 0
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    def alone(self) -> None:
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = (self.place / name).open("w", encoding="utf-8", errors="backslashreplace")
            os.dup2(file.fileno(), number)
            setattr(sys, name, file)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        GlobalHydra.instance().clear()
        os.chdir(ROOT)

    def ended(self, seconds: float = 120) -> Ended:
        until = time.monotonic() + seconds
        while not (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(self.said())
            time.sleep(0.02)
        said = self.said()
        shutil.rmtree(self.place)
        return Ended(os.waitstatus_to_exitcode(found[1]), *said)

    def said(self) -> tuple[str, str]:
        out, err = ((self.place / n).read_text(errors="replace") for n in ("stdout", "stderr"))
        return out, err


def typing(*arguments: str, patch: Callable[[], object] = lambda: None) -> Child:
    """`python run.py arguments`, going on by itself; `patch()` comes first, in the child."""

    def work() -> None:
        os.environ["COLUMNS"] = "400"
        sys.argv = ["run.py", *map(str, arguments)]
        patch()
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")

    # what a run imports, once for all children
    import antidote.engine.mlflow
    import antidote.task.route
    import antidote.task.run  # noqa: F401

    return Child(work)


def typed(*arguments: str, patch: Callable[[], object] = lambda: None) -> Ended:
    return typing(*arguments, patch=patch).ended()


def at_statement(n: int) -> None:
    """Kills this process at its n-th SQL statement: MLflow makes its tables one by one."""
    seen = []

    def count(*_: object) -> None:
        seen.append(1)
        if len(seen) == n:
            kill()

    event.listen(Engine, "before_cursor_execute", count)


def kill(*_: object, **__: object) -> None:
    """For a patch: as a machine does that is out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
