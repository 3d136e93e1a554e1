"""``resnet-cli demo``: a tour on real data that needs no download, with the commands that a user would type."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.options import OfflineFlag
from resnet_cli.cli.takes import ALIASES, examples

#: Longest download of ImageNet weights that the tour waits for, in seconds.
MAX_DOWNLOAD_S = 20
#: Number of labels for the first transfer; the second uses all labels.
FEW_LABELS = 100
OLD, NEW = "0,1,2,3,4", "5,6,7,8,9"


@app.command(epilog=examples("resnet-cli demo", "resnet-cli demo --out tour", docs="installation.md"))
def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            *ALIASES["--out"],
            metavar="PATH",
            help="Folder for everything that is written.",
            show_default="runs/demo-TIME",
        ),
    ] = None,
    offline: OfflineFlag = False,
) -> None:
    """Take a tour on handwritten digits; it needs no download.

    It takes a few minutes: it trains on the digits 0-4, then transfers that to 5-9 with few labels.
    """
    folder = out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    began = time.perf_counter()
    _say(
        "A small example of transfer learning: a model for one task becomes a model for another, with few labels.\n"
        "The images are 1,797 real scans of handwritten digits (UCI, bundled with scikit-learn)."
    )
    start = _starting_weights(offline=offline)
    old, new = folder / "digits-0-4", folder / "digits-5-9"
    _title("1. The first task: train a ResNet-50 on digits 0 to 4")
    _run("finetune", "digits", "--classes", OLD, "--weights", start, "--mode", "full", "--image-size", "32",
         "--epochs", "8", "--out", str(old))  # fmt: skip
    _title("2. How accurate is it for each digit?")
    _run("eval", str(old))
    _title("3. The second task: keep the backbone frozen and train only a new head, for digits 5 to 9")
    common = ["--classes", NEW, "--mode", "frozen", "--val-fraction", "0.25", "--epochs", "30"]
    runs: dict[tuple[str, str], Path] = {}
    _say("First with few labels, and for comparison the same head on an untrained backbone:")
    for backbone, labels in (("0-4", "few"), ("untrained", "few"), ("untrained", "all")):
        run = runs[backbone, labels] = folder / f"compare-{backbone}-{labels}"
        limit = ["--limit", str(FEW_LABELS)] if labels == "few" else []
        weights = ["--weights", str(old)] if backbone == "0-4" else ["--weights", "none"]
        _run("finetune", "digits", *common, *weights, *limit, "--out", str(run), "--quiet")
    _say("Now with all labels:")
    runs["0-4", "all"] = new
    _run("finetune", "digits", *common, "--weights", str(old), "--out", str(new))
    _show_comparison(runs)
    _title("4. Use it: classify digits that it has not seen")
    images = folder / "images"
    _write_images(new, images)
    _run("predict", str(images), "--model", str(new))
    _title(f"5. Done in {time.perf_counter() - began:.0f} s")
    _show_next(folder, new, images)


def _starting_weights(*, offline: bool) -> str:
    """ImageNet weights if they are on this machine or can be downloaded within seconds, else none; prints which."""
    from resnet_cli.errors import NetworkError
    from resnet_cli.network import download, registry
    from resnet_cli.system.paths import checkpoints_dir

    file, folder = registry.WEIGHTS["imagenet-v1"], checkpoints_dir()
    began = time.perf_counter()

    def give_up_if_slow(done: int, total: int | None) -> None:
        passed = time.perf_counter() - began
        if passed > 2 and total and passed * total / max(done, 1) > MAX_DOWNLOAD_S:
            raise NetworkError("the download would take too long for a tour")

    if download.find_cached(file, folder) is None:
        try:
            with output.status("looking for ImageNet weights"):
                download.fetch(file, folder, on_progress=give_up_if_slow, timeout_s=3, retries=0, offline=offline)
        except NetworkError as error:
            output.warn(f"no ImageNet weights on this machine, and no quick download ({error.message})")
            _say(
                "So the first stage starts from random weights and learns everything from 720 scans. With your own\n"
                "photos you would start from ImageNet weights, and both stages would be far better."
            )
            return "none"
    _say(f"Starting from the ImageNet weights in {folder}.")
    return "imagenet-v1"


def _run(*arguments: str) -> None:
    """Prints a command and runs it as if it had been typed."""
    from rich.text import Text

    output.show(Text.assemble(("$ ", "bold green"), (shlex.join(["resnet-cli", *arguments]), "bold")))
    code = app(list(arguments), standalone_mode=False)
    if code:
        raise typer.Exit(code)


def _show_comparison(runs: dict[tuple[str, str], Path]) -> None:
    from resnet_cli.cli.tables import plain_table
    from resnet_cli.text import percent

    metrics: dict[tuple[str, str], dict[str, Any]] = {
        key: json.loads((run / "metrics.json").read_text(encoding="utf-8")) for key, run in runs.items()
    }
    num_test = metrics["0-4", "all"]["num_images"]["test"]
    num_train = metrics["0-4", "all"]["num_images"]["train"]
    table = plain_table(
        "How much the first model helps with the second task",
        "frozen backbone", f">{FEW_LABELS} labels", f">{num_train} labels",
    )  # fmt: skip
    for backbone, name in (("0-4", "trained on digits 0 to 4"), ("untrained", "untrained (random weights)")):
        table.add_row(name, *(percent(metrics[backbone, labels]["test_top1"]) for labels in ("few", "all")))
    output.show("", table)
    _say(
        f"Top-1 on {num_test} test images of digits 5 to 9; only the backbone differs. Such a comparison also shows\n"
        "whether a transfer helps with your own images."
    )


def _write_images(run: Path, folder: Path) -> None:
    """Writes one test image of each class as PNG."""
    from PIL import Image

    from resnet_cli.model.weights import load_model
    from resnet_cli.runs import open_run_dataset
    from resnet_cli.system.paths import make_dir

    dataset = open_run_dataset(load_model(run))
    first = {item.label: item for item in reversed(dataset.split("test"))}
    make_dir(folder)
    for label, item in sorted(first.items()):
        image: Image.Image = item.open()
        image.save(folder / f"a-{dataset.classes[label]}.png")


def _show_next(folder: Path, run: Path, images: Path) -> None:
    from resnet_cli.cli.tables import files_block

    files = [
        (str(run / "model.safetensors"), "the new model, one file"),
        (str(run / "report.html"), "the report: metrics, mistakes, calibration"),
        (str(images), "the images that were classified"),
    ]
    commands = [
        ("resnet-cli finetune YOUR_PHOTOS", "a folder with one sub-folder per class"),
        ("resnet-cli eval", "evaluates the latest run on its own test images"),
        ("resnet-cli predict photo.jpg", "classifies an image with the latest run"),
        (f"rm -r {shlex.quote(str(folder))}", "removes the files of this tour"),
    ]
    width = output.stdout().width
    output.show(files_block("Files", files, width=width), files_block("Type next", commands, width=width))


def _title(text: str) -> None:
    from rich.text import Text

    output.show(Text(), Text(text, style="bold cyan"))


def _say(text: str) -> None:
    output.show_prose(" ".join(text.split()))
