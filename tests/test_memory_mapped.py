"""600 MB of mapped images are decoded, counted, hashed and iterated in under 100 MB of memory.

What is counted is RssAnon, memory that the process alone holds and the system cannot take back.
Pages of the mapped file are counted as RssFile: copies of what is on the disk, which the system
drops when it needs the room.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = """
import json, sys, threading, time
from pathlib import Path

import torch

from antidote.core import Samples, everything
from antidote.core.data import digest
from antidote.dataset.images import image_data
from antidote.dataset.mapped import Encoded, decode

torch.set_num_threads(1)
MB, N, SHAPE = 10**6, 200_000, (3, 32, 32)


def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def growth(work):
    "Peak of the memory held while `work` runs, in MB more than before."
    peak = before = anonymous()
    running = True

    def watch():
        nonlocal peak
        while running:
            peak = max(peak, anonymous())
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    work()
    running = False
    thread.join()
    return (peak - before) / MB


def chunks():
    for start in range(0, N, 2000):
        yield torch.full((2000, *SHAPE), start // 2000, dtype=torch.uint8)


def go_over(loader):
    seen = sum(len(y) for x, y in loader)
    assert seen == N


found = {}
images = Encoded((N, *SHAPE), "noise", chunks)
found["decode"] = growth(lambda: decode(images, Path(sys.argv[1])))
x = decode(images, Path(sys.argv[1]))
found["bytes"] = x.numel() / MB
whole = Samples(x, torch.zeros(N, dtype=torch.int64))
found["data"] = growth(lambda: image_data(whole, whole, ("a",), None, N - 1))
found["digest"] = growth(lambda: digest(whole.to(torch.device("cpu")).x))
found["loader"] = growth(lambda: go_over(everything(whole, batch_size=512, shuffle=True)))
found["a copy of a third"] = growth(lambda: time.sleep(0.1 * x[: N // 3].clone().ndim))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    if not Path("/proc/self/status").is_file():
        pytest.skip("memory is read from /proc")
    folder = tmp_path_factory.mktemp("mapped")
    command = [sys.executable, "-c", MEASURE, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    for path in folder.iterdir():  # pytest would keep 600 MB
        path.unlink()
    return json.loads(done.stdout)


def test_the_meter_sees_a_copy(found):
    assert found["a copy of a third"] > 150


@pytest.mark.parametrize("step", ["decode", "data", "digest", "loader"])
def test_no_step_holds_more_than_a_fraction_of_the_images(found, step):
    assert found["bytes"] > 600
    assert found[step] < 100
