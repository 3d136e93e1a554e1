"""Compares resnet-cli with its peers: training with a frozen backbone, and start-up.

    RESNET_CLI_ASSETS=... python -m benchmarks.race [--peers-dir DIR] [--quick]

All get the same images, weights, number of epochs, image size and batch size. Each runs in its own virtual environment
and its own process, start-up included, and ours runs before and after it. If a peer cannot be installed beside this
torch, or fails, its row says so.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from resnet_cli.system.paths import cache_dir

from .peers import (
    IMAGE_SIZE,
    PEERS,
    WHOLE_ONLY,
    Peer,
    PeerError,
    PeerRun,
    install,
    peer_env,
    run_peer,
    version_of,
    write_checkpoints,
)
from .processes import CommandError, run
from .setting import Setting, alone
from .table import Row, show, spread

EPOCHS = 10
#: How many times as fast ours must be in training; the other peers have no target.
TRAINING_BARS = {"ultralytics": 30, "fastai": 30}
HELP_BAR = 10
#: Our precisions in training with a frozen backbone.
TRAINING_PRECISIONS = ("fp32", "int8")
QUICK_PHOTOS = 48


def on_training(setting: Setting) -> Iterator[Row]:
    """Ten epochs of ants and bees with a frozen backbone: wall time of each peer relative to ours."""
    return race(setting, PEERS)


def on_whole_training(setting: Setting) -> Iterator[Row]:
    """The same for a peer that cannot freeze a backbone and brings its own torch: gigabytes, and more than an hour."""
    return race(setting, (WHOLE_ONLY,))


def race(setting: Setting, peers: Sequence[Peer]) -> Iterator[Row]:
    """Wall time of each peer in float32 relative to ours in each precision; ours run before and after it."""
    # The peers write caches beside the images.
    data = setting.few_photos(QUICK_PHOTOS) if setting.quick else setting.empty()
    if not setting.quick:
        shutil.copytree(setting.photos, data, copy_function=shutil.copyfile)
    write_checkpoints(setting.weights, setting.scratch / "torch_home")
    for peer in peers:
        what = f"frozen, {EPOCHS} epochs: times as fast as {peer.package}"
        try:
            python = install(peer, venvs(setting))
            before = {precision: train_ours(setting, data, precision) for precision in TRAINING_PRECISIONS}
            seen, epochs = train_peer(setting, peer, python, data)
            after = {precision: train_ours(setting, data, precision) for precision in TRAINING_PRECISIONS}
        except PeerError as error:
            yield Row(what, None, "x", details={"failed": str(error)})
            continue
        for precision in TRAINING_PRECISIONS:
            ours = statistics.mean([before[precision][0], after[precision][0]])
            details = {
                "ours_s": ours,
                "peer_s": seen.seconds,
                "ours top-1 %": after[precision][1],
                "peer top-1 %": 100 * seen.top1,
                "version": seen.version,
                "epochs": epochs,
                "images": sum(1 for _ in data.glob("*/*/*.jpg")),
                "n": 1,
            } | ({"but": peer.note} if peer.note else {})
            # Start-up is most of the time that few images take.
            bar = None if setting.quick else TRAINING_BARS.get(peer.package)
            yield Row(f"{what}, ours in {precision}", seen.seconds / ours, "x", at_least=bar, details=details)


def train_ours(setting: Setting, data: Path, precision: str) -> tuple[float, float]:
    """Wall seconds and validation top-1 in percent, nothing cached."""
    flags = ("--mode", "frozen", "--epochs", str(EPOCHS), "--image-size", str(IMAGE_SIZE), "--precision", precision)
    seconds, summary = setting.run(data, *flags)
    return seconds, 100 * summary["val_top1"]


def train_peer(setting: Setting, peer: Peer, python: Path, data: Path) -> tuple[PeerRun, str]:
    """Trains all epochs; with --quick one and two, and extrapolates from their difference to ten."""

    def train(epochs: int) -> PeerRun:
        return run_peer(peer, python, data, mode="frozen", epochs=epochs, precision="fp32", scratch=setting.scratch)

    if not setting.quick:
        return train(EPOCHS), str(EPOCHS)
    one, two = train(1), train(2)
    seconds = one.seconds + (EPOCHS - 1) * max(0.0, two.seconds - one.seconds)
    return dataclasses.replace(two, seconds=seconds), f"{EPOCHS}, scaled from runs of 1 and 2"


def on_help(setting: Setting) -> Iterator[Row]:
    """``yolo help`` relative to ``resnet-cli --help``."""
    what = "--help: times as fast as yolo help"
    peer = next(peer for peer in PEERS if peer.package == "ultralytics")
    ours, theirs = [], []
    try:
        python = install(peer, venvs(setting))
        # One more pair than counted: the first fills the disk's cache.
        for _ in range(2 if setting.quick else 8):
            ours.append(run("resnet-cli", "--help", env=dict(os.environ))[0])
            theirs.append(run(str(python.with_name("yolo")), "help", env=peer_env(setting.scratch))[0])
        version = version_of(peer, python)
    except (PeerError, CommandError) as error:
        yield Row(what, None, "x", details={"failed": str(error)})
        return
    ratios = [peer_s / our_s for peer_s, our_s in zip(theirs[1:], ours[1:], strict=True)]
    details = {
        "ours_s": statistics.median(ours[1:]),
        "peer_s": statistics.median(theirs[1:]),
        "version": version,
    }
    yield Row(what, statistics.median(ratios), "x", at_least=HELP_BAR, details=details | spread(ratios))


def venvs(setting: Setting) -> Path:
    """The folder of the peers' virtual environments; they are kept, since installing takes minutes."""
    return setting.peers_dir or cache_dir() / "benchmark-peers"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peers-dir", type=Path, default=cache_dir() / "benchmark-peers", help="folder of the virtual environments"
    )
    parser.add_argument("--quick", action="store_true", help="few photos; ten epochs extrapolated from one and two")
    chosen = parser.parse_args()
    peers_dir = chosen.peers_dir.absolute()
    with alone(quick=chosen.quick) as found:
        setting = dataclasses.replace(found, peers_dir=peers_dir)
        show(row for part in (on_help, on_training, on_whole_training) for row in part(setting))


if __name__ == "__main__":
    main()
