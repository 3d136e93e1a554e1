"""Compares ``predict`` with timm and ``yolo predict`` over a thousand photos, in every precision of this processor.

    RESNET_CLI_ASSETS=... python -m benchmarks --peers --only peer-predict

A round runs everything once, each in its own process, start-up included. Ours is the model of ants and bees after its
first prediction, so the files that a model keeps for later ones exist; how long the first ones took is shown too.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from resnet_cli.system.device import native_bf16
from resnet_cli.system.processor import this_processor

from . import peer_inference, processes
from .inference import photos
from .peers import IMAGE_SIZE, Peer, PeerError, install, version_of, write_checkpoints
from .race import QUICK_PHOTOS, venvs
from .setting import Setting
from .table import Row, spread

NUM_PHOTOS, NUM_ROUNDS = 1_000, 3
PEERS: Mapping[str, Peer] = {peer.package: peer for peer in peer_inference.PEERS}


class Bar(NamedTuple):
    """How many times as fast our precision must be as a peer in its own."""

    ours: str
    peer: str
    theirs: str
    least: float | None


def bars() -> list[Bar]:
    """What is compared on this processor; timm's fastest precision is bfloat16 where the processor has it."""
    has_bf16, has_int8 = native_bf16("cpu"), this_processor().multiplies_int8
    fastest = "bf16" if has_bf16 else "fp32"
    found = [
        Bar("fp32", "timm", "fp32", 1.9),
        Bar("fp32", "ultralytics", "fp32", 3),
        Bar("int8", "timm", fastest, 3 if has_int8 else 2.2),
        Bar("int8", "ultralytics", "fp32", 8 if has_int8 else 3.5),
    ]
    return [*found, Bar("bf16", "timm", "bf16", None)] if has_bf16 else found


def on_predict(setting: Setting) -> Iterator[Row]:
    """Wall time of each peer relative to ours, in turns."""
    folder = photos(setting.assets, QUICK_PHOTOS if setting.quick else NUM_PHOTOS, setting.scratch / "photos")
    num_images = sum(1 for _ in folder.iterdir())
    env = os.environ | {"RESNET_CLI_CACHE": str(setting.empty())}
    model, wanted = train_model(setting, env), bars()
    write_checkpoints(setting.weights, setting.scratch / "torch_home")
    precisions = sorted({bar.ours for bar in wanted})
    for precision in precisions:
        seconds = predict_ours(next(folder.iterdir()), model, precision, env)
        yield Row(f"first prediction of a run in {precision}, one photo", seconds, "s", details={"n": 1})
    ours: dict[str, list[float]] = {precision: [] for precision in precisions}
    theirs: dict[tuple[str, str], list[float]] = {(bar.peer, bar.theirs): [] for bar in wanted}
    failed: dict[str, str] = {}
    for _ in range(1 if setting.quick else NUM_ROUNDS):
        for precision, seconds_of_ours in ours.items():
            seconds_of_ours.append(predict_ours(folder, model, precision, env))
        for (name, precision), seconds_of_theirs in theirs.items():
            try:
                seconds_of_theirs.append(predict_peer(setting, name, folder, precision, num_images))
            except PeerError as error:
                failed[name] = str(error)
    for bar in wanted:
        what = f"predict in {bar.ours}, {num_images:,} photos: times as fast as {bar.peer} in {bar.theirs}"
        if bar.peer in failed:
            yield Row(what, None, "x", details={"failed": failed[bar.peer]})
        else:
            yield compared(what, bar, ours[bar.ours], theirs[bar.peer, bar.theirs], setting)


def compared(what: str, bar: Bar, ours: list[float], theirs: list[float], setting: Setting) -> Row:
    """The median of the ratios of all rounds."""
    ratios = [peer_s / our_s for peer_s, our_s in zip(theirs, ours, strict=True)]
    peer = PEERS[bar.peer]
    details = {
        "ours_s": statistics.median(ours),
        "peer_s": statistics.median(theirs),
        "version": version_of(peer, install(peer, venvs(setting))),
    }
    least = None if setting.quick else bar.least
    return Row(what, statistics.median(ratios), "x", at_least=least, details=details | spread(ratios))


def train_model(setting: Setting, env: dict[str, str]) -> Path:
    """The run of ants and bees that ours predicts with."""
    out = setting.empty()
    data = setting.few_photos(QUICK_PHOTOS) if setting.quick else setting.photos
    flags = ("--weights", str(setting.weights), "--mode", "frozen", "--image-size", str(IMAGE_SIZE))
    processes.finetune(data, *flags, env=env, out=out)
    return out


def predict_ours(images: Path, model: Path, precision: str, env: dict[str, str]) -> float:
    """Wall seconds of our command."""
    words = ("resnet-cli", "predict", str(images), "--model", str(model), "--precision", precision, "--csv", "--quiet")
    return processes.run(*words, env=env)[0]


def predict_peer(setting: Setting, name: str, folder: Path, precision: str, num_images: int) -> float:
    """Wall seconds of a peer.

    Raises:
        PeerError: It did not finish, or did not predict every photo.
    """
    peer = PEERS[name]
    python = install(peer, venvs(setting))
    seconds, num = peer_inference.answer_all(peer, python, folder, precision, setting.scratch)
    if num != num_images:
        raise PeerError(f"{num} of {num_images} photos predicted")
    return seconds
