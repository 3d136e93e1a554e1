"""How much the outputs of each precision differ from float32's, and whether all commands give the same output.

253 photos over ImageNet's 1,000 classes: the validation split of ants and bees, and ten photos of each of ten classes.
A GPU's TF32 and float16 are emulated: the inputs of each convolution are rounded (for float16 also its outputs) and
sums stay in float32, as in tensor cores.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .processes import COMMAND, finetune, run
from .setting import Setting
from .table import Row

#: Largest allowed difference from float32 in any probability, and smallest share of equal most probable classes.
MOST_DIFFERENT, LEAST_AGREEMENT = 5e-3, 0.995
_BATCH = 16


def measure(setting: Setting) -> Iterator[Row]:
    """Compares each precision with float32 as torch computes it layer by layer."""
    from resnet_cli.engines.features import FrozenBackbone, folded_for
    from resnet_cli.model.weights import load_model
    from resnet_cli.system.device import Compute

    torch.set_grad_enabled(False)
    model = load_model(str(setting.weights))
    pixels = torch.stack([torch.tensor(model.preprocess(_open(path))).permute(2, 0, 1) for path in _photos(setting)])
    fp32, bf16 = Compute("cpu", "fp32", ""), Compute("cpu", "bf16", "")
    plain = model.network.folded().to(memory_format=torch.channels_last)

    def own(network: nn.Module) -> Callable[[Tensor], Tensor]:
        return lambda x: network.features(model.preprocess.normalize(fp32.to_device(x)))  # type: ignore[operator]

    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "fp32, oneDNN's order (the default on a CPU)": own(folded_for(model.network, model.preprocess.crop_size, fp32)),
        "bf16 autocast (--precision bf16)": FrozenBackbone(model.network, model.preprocess, bf16),
        "TF32, emulated (convolutions on a GPU by torch's default)": own(_rounded(model.network.folded(), _to_tf32)),
        "fp16, emulated": own(_rounded(model.network.folded(), _to_fp16, also_outputs=True)),
    }
    expected, expected_s = _answers(own(plain), model.network.fc, pixels)
    for name, form in forms.items():
        found, seconds = _answers(form, model.network.fc, pixels)
        details = (
            {"images": len(pixels)} if "emulated" in name else {"images": len(pixels), "speed": expected_s / seconds}
        )
        is_default = "the default" in name
        yield from _compare(name, expected, found, details, has_bar=is_default)


def measure_commands(setting: Setting) -> Iterator[Row]:
    """Runs every command with one model of ants and bees on the same photos."""
    model = setting.empty()
    finetune(setting.photos, "--mode", "frozen", "--weights", str(setting.weights), env={**os.environ}, out=model)
    photos = _photos(setting)
    formats: dict[str, list[str]] = {"onnx": [], "pt2": ["--trust"]}
    for name in formats:
        run("resnet-cli", "export", str(model), "--format", name, env={**os.environ})
    val = [path for path in photos if path.is_relative_to(setting.photos)]
    expected = _predicted(model / "model.safetensors", photos)
    for name, trust in formats.items():
        found = _predicted(model / f"model.{name}", photos, *trust)
        yield from _compare(f"predict: model.{name} relative to the run", expected, found, {"images": len(photos)})
    found = _served(model, photos)
    yield from _compare("serve relative to predict", expected, found, {"images": len(photos)})
    own = {spec: _evaluated(model / spec, *flags) for spec, flags in _SUBJECTS.items()}
    own["metrics.json"] = json.loads((model / "metrics.json").read_text())["val"]["top1"]
    values = ", ".join(f"{name} {100 * top1:.2f}" for name, top1 in own.items())
    spread = 100 * (max(own.values()) - min(own.values()))
    yield Row(
        "ants/bees: top-1 by each command, spread", spread, "points", at_most=0, details={"%": values, "n": len(val)}
    )


_SUBJECTS: dict[str, tuple[str, ...]] = {"model.safetensors": (), "model.onnx": (), "model.pt2": ("--trust",)}


def _photos(setting: Setting) -> list[Path]:
    photos = [*setting.photos.glob("val/*/*"), *(setting.assets / "photos" / "imagenet").glob("*/*")]
    return sorted(path for path in photos if path.suffix.lower() in {".jpg", ".jpeg"})[:: 8 if setting.quick else 1]


def _open(path: Path) -> Any:
    from resnet_cli.data.dataset import Item

    return Item(path.name, path).open()


def _answers(features: Callable[[Tensor], Tensor], head: nn.Module, pixels: Tensor) -> tuple[NDArray[Any], float]:
    """Computes probabilities [n x k], and the seconds of the second half, when everything is warmed up."""
    rows, began = [], 0.0
    batches = torch.split(pixels, _BATCH)
    for at, batch in enumerate(batches):
        if at == len(batches) // 2:
            began = time.perf_counter()
        rows.append(features(batch).float())
    seconds = time.perf_counter() - began
    return torch.softmax(head(torch.cat(rows)), dim=1).numpy(), seconds


def _compare(
    name: str, expected: NDArray[Any], found: NDArray[Any], details: dict[str, Any], *, has_bar: bool = True
) -> Iterator[Row]:
    agreement = float((expected.argmax(axis=1) == found.argmax(axis=1)).mean())
    details = details | {
        "same top-1 %": 100 * agreement,
        "p99": float(np.quantile(np.abs(expected - found).max(axis=1), 0.99)),
    }
    difference = float(np.abs(expected - found).max())
    if agreement < LEAST_AGREEMENT and has_bar:
        difference = max(difference, 1 - agreement)
    yield Row(
        f"{name}: largest difference", difference, "", at_most=MOST_DIFFERENT if has_bar else None, details=details
    )


def _rounded(network: nn.Module, to: Callable[[Tensor], Tensor], *, also_outputs: bool = False) -> nn.Module:
    """The network with rounded inputs and weights of its convolutions, and sums in float32."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.copy_(to(module.weight))
            module.register_forward_pre_hook(lambda module, inputs: (to(inputs[0]),))
            if also_outputs:
                module.register_forward_hook(lambda module, inputs, output: to(output))
    return network.to(memory_format=torch.channels_last)


def _to_tf32(x: Tensor) -> Tensor:
    """Rounds to the nearest value with a mantissa of 10 bits, ties to even."""
    bits = x.contiguous(memory_format=torch.channels_last).view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def _to_fp16(x: Tensor) -> Tensor:
    return x.half().float()


def _predicted(model: Path, photos: list[Path], *flags: str) -> NDArray[Any]:
    command = [COMMAND, "predict", *map(str, photos), "--model", str(model), "--json", "--quiet", *flags]
    rows = [json.loads(line) for line in subprocess.run(command, check=True, capture_output=True).stdout.splitlines()]
    return np.array([_by_class(row["topk"]) for row in rows])


def _by_class(topk: list[dict[str, Any]]) -> list[float]:
    return [top["prob"] for top in sorted(topk, key=lambda top: str(top["label"]))]


def _served(model: Path, photos: list[Path]) -> NDArray[Any]:
    command = [COMMAND, "serve", str(model), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        url = next(found[0] for line in process.stdout if (found := re.search(r"http://[\d.]+:\d+", line)))
        return np.array([_by_class(_ask(url, path)) for path in photos])
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def _ask(url: str, path: Path) -> list[dict[str, Any]]:
    request = urllib.request.Request(f"{url}/predict", data=path.read_bytes(), headers={"Content-Type": "image/jpeg"})
    with urllib.request.urlopen(request) as response:
        found = json.loads(response.read())
    topk: list[dict[str, Any]] = (found.get("predictions") or found.get("results") or [found])[0]["topk"]
    return topk


def _evaluated(model: Path, *flags: str) -> float:
    command = [COMMAND, "eval", str(model), "--split", "val", "--json", "--no-report", *flags]
    top1: float = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["top1"]
    return top1
