"""Threads keep the order, stop at the first error, and leave nothing running."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from resnet_cli.errors import ImageError
from resnet_cli.system import threads
from resnet_cli.system.threads import CHUNK_ITEMS, map_threaded


def test_results_come_in_order() -> None:
    assert list(map_threaded(lambda value: value * 2, range(500))) == [value * 2 for value in range(500)]
    assert list(map_threaded(lambda value: value, [])) == []


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "400000 100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu.max": "what\n"}, None),
        ({"cpu.max": "100000 0\n"}, None),
    ],
)
def test_a_container_limits_the_threads(
    files: dict[str, str], limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_CGROUP", tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads.processor_limit() == limit
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert threads.num_threads() == (limit or 64)


@pytest.mark.slow
def test_torch_respects_the_limit_unless_it_is_told_how_many(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000")
    program = (
        "import pathlib, sys; from resnet_cli.system import threads; threads._CGROUP = pathlib.Path(sys.argv[1]);"
        "import torch; torch.set_num_threads(3); from resnet_cli.system.device import choose_compute;"
        "choose_compute('cpu'); print(torch.get_num_threads())"
    )
    free = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    for environment, expected in ((free, "1"), (free | {"OMP_NUM_THREADS": "3"}, "3")):
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


def test_the_first_error_ends_it_and_no_thread_is_left() -> None:
    before = set(threading.enumerate())

    def fail(value: int) -> int:
        if value == 2 * CHUNK_ITEMS + 3:
            raise ImageError(str(value), "broken")
        return value

    results = map_threaded(fail, range(10 * CHUNK_ITEMS))
    got: list[int] = []
    with pytest.raises(ImageError):
        for value in results:
            got.append(value)
    assert got == list(range(len(got))) and len(got) <= 2 * CHUNK_ITEMS + 3
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()
