"""Measures the main job on real photos: accuracy, time against one bare forward pass, peak memory, start-up.

    RESNET_CLI_ASSETS=... python -m tests.benchmarks.main_job [--cifar]

Everything is measured as a user meets it: the installed ``resnet-cli`` in a process of its own, an empty feature
cache, start-up included. Ratios are between runs of the same minute on the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

#: A process that does what any tool must: import torch, decode nothing, run the bare network over n pictures.
BARE = """
import sys, time, torch, torchvision
n, size, dtype = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
net = torchvision.models.resnet50().eval().to(memory_format=torch.channels_last)
x = torch.rand(32, 3, size, size).contiguous(memory_format=torch.channels_last)
with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
    done = 0
    while done < n:
        net(x[: n - done])
        done += 32
"""
HELLO = """
import typer
app = typer.Typer()
@app.command()
def hello(name: str): print(name)
@app.command()
def bye(name: str): print(name)
app()
"""


def run(*command: str, env: dict[str, str]) -> tuple[float, int, str]:
    """Runs a command; returns wall seconds, peak resident bytes and stdout."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True)
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024, text


def finetune(data: Path, *arguments: str, env: dict[str, str], out: Path) -> tuple[float, int, dict[str, Any]]:
    """Runs a finetune; returns wall seconds, peak bytes and its summary."""
    seconds, memory, text = run(
        "resnet-cli", "finetune", str(data), "--json", "--quiet", "--out", str(out), *arguments, env=env
    )
    return seconds, memory, json.loads(text)


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar", action="store_true", help="also CIFAR-10, 500 a class at 128 px (minutes)")
    chosen = parser.parse_args()
    assets = Path(os.environ["RESNET_CLI_ASSETS"])
    weights = ["--weights", str(next((assets / "weights").glob("*.safetensors")))]
    import torch

    from resnet_cli.device import choose_compute

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        env = os.environ | {"RESNET_CLI_CACHE": str(folder / "cache")}
        photos = assets / "photos" / "ants_bees"
        # Emulated bfloat16 is several times slower: a bare pass in it would flatter us.
        kinds = {"fp32", choose_compute("cpu").precision}
        bare = {kind: run(sys.executable, "-c", BARE, "398", "224", kind, env=env)[0] for kind in kinds}
        cold, memory, first = finetune(photos, "--mode", "frozen", *weights, env=env, out=folder / "first")
        again = run(sys.executable, "-c", BARE, "398", "224", min(bare, key=bare.__getitem__), env=env)[0]
        warm, _, second = finetune(photos, "--mode", "frozen", "--seed", "1", *weights, env=env, out=folder / "second")
        best = (min(bare.values()) + again) / 2
        print(f"ants/bees frozen: top-1 {first['val_top1']:.4f} (seed 1: {second['val_top1']:.4f}) of 153")
        print(f"  bare forward over 398 photos, process included: {bare} s, again {again:.1f} s")
        print(f"  ours, cold {cold:.1f} s = {cold / best:.2f} x the faster bare pass; warm {warm:.1f} s")
        print(f"  peak memory {memory / 2**30:.2f} GB")
        startup = [
            (run("resnet-cli", flag, env=env)[0], run(sys.executable, "-c", HELLO, "--help", env=env)[0])
            for flag in ("--help", "--version") * 5
        ]
        ratios = sorted(ours / theirs for ours, theirs in startup)
        print(
            f"start-up over a two-command Typer program: median {ratios[len(ratios) // 2]:.2f} of {len(ratios)} pairs"
        )
        if chosen.cifar:
            cifar = folder / "cifar"
            with tarfile.open(assets / "cifar10-jpeg.tar.gz") as archive:
                archive.extractall(cifar, filter="data")
            data = _subset(cifar, folder / "subset")
            seconds, memory, result = finetune(
                data, "--mode", "frozen", "--image-size", "128", *weights, env=env, out=folder / "cifar-run"
            )
            print(f"CIFAR-10, 500 a class at 128 px, frozen, 100 a class to choose: top-1 {result['val_top1']:.4f}")
            print(f"  {seconds:.0f} s, peak memory {memory / 2**30:.2f} GB for 6,000 pictures")


def _subset(cifar: Path, out: Path) -> Path:
    """Links the first 500 train and 100 test pictures of each class as train and val."""
    for split, target, count in (("train", "train", 500), ("test", "val", 100)):
        for folder in sorted((cifar / split).iterdir()):
            (out / target / folder.name).mkdir(parents=True)
            for path in sorted(folder.iterdir())[:count]:
                (out / target / folder.name / path.name).symlink_to(path)
    return out


if __name__ == "__main__":
    main()
