"""``resnet-cli demo``: a tour on real data that needs no download, with the commands that a user would type."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.options import OfflineFlag
from resnet_cli.cli.takes import ALIASES, examples
from resnet_cli.text import duration, first_of

#: Longest download of ImageNet weights that the tour waits for, in seconds.
MAX_DOWNLOAD_S = 20
#: Number of labels for the first transfer; the second uses all labels.
FEW_LABELS = 100
OLD, NEW = "0,1,2,3,4", "5,6,7,8,9"
#: The whole tour takes as long as this number of images in training steps at 32 px, and what does not depend on them.
EQUAL_IMAGES, OTHER_S = 9_000, 30
#: Images on the contact sheet, and in a row of it.
SHEET, COLUMNS = 28, 7


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
    open_report: Annotated[
        bool,
        typer.Option("--open", metavar="", help="Open the report in the browser at the end, without asking."),
    ] = False,
    offline: OfflineFlag = False,
) -> None:
    """Take a tour on handwritten digits; it needs no download.

    It takes a few minutes: it trains on the digits 0-4, then transfers that to 5-9 with few labels.
    """
    folder = out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    began = time.perf_counter()
    _say(
        "A small example of transfer learning: a model for one task becomes a model for another, with few labels. "
        "The images are 1,797 real scans of handwritten digits (UCI, bundled with scikit-learn)."
    )
    machine = _machine_flags()
    _say(f"It will take about {_expected_time()} on this machine at its current load.")
    start = _starting_weights(offline=offline)
    old, new = folder / "digits-0-4", folder / "digits-5-9"
    _title("1. The first task: train a ResNet-50 on digits 0 to 4")
    if machine:
        _say("With one thread, the same tour gives the same numbers again, also beside other programs.")
    _run("finetune", "digits", "--classes", OLD, "--weights", start, "--mode", "full", "--image-size", "32",
         "--epochs", "8", *machine, "--out", str(old))  # fmt: skip
    _title("2. How accurate is it for each digit?")
    _run("eval", str(old))
    _title("3. The second task: keep the backbone frozen and train only a new head, for digits 5 to 9")
    runs = _compare_backbones(folder, old, new, machine)
    _show_comparison(runs)
    _title("4. Use it: classify digits that it has not seen")
    images = folder / "images"
    _write_images(new, images)
    _run("predict", str(images), "--model", str(new))
    _title("5. What it has learned, on the test images of digits 5 to 9")
    _show_sheet(new, folder / "contact-sheet.png")
    _title(f"Done in {duration(time.perf_counter() - began)}")
    _show_next(folder, new)
    _offer_report(new / "report.html", is_asked=open_report)


def _machine_flags() -> list[str]:
    """One thread on a CPU: the last digits of sums, and so the course of a training, depend on their number."""
    with output.status("loading torch"):
        from resnet_cli.system.device import choose_compute

        return ["--threads", "1"] if choose_compute("auto", "auto").type == "cpu" else []


def _expected_time() -> str:
    """How long the tour takes, from two measured training steps of its first stage."""
    with output.status("measuring how fast this machine is"):
        import torch

        from resnet_cli.model.network import ResNet50
        from resnet_cli.system.device import choose_compute

        compute = choose_compute("auto", "auto")
        network, times = ResNet50(5).to(compute.device), []
        pixels = torch.zeros(32, 3, 32, 32, device=compute.device)
        num_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for _ in range(3):
                began = time.perf_counter()
                network(pixels).sum().backward()
                gradient = network.conv1.weight.grad
                # Also waits for a GPU.
                assert gradient is not None and float(gradient.sum()) is not None
                times.append(time.perf_counter() - began)
        finally:
            torch.set_num_threads(num_threads)
    # The first step also allocates memory.
    return about(OTHER_S + EQUAL_IMAGES * min(times[1:]) / len(pixels))


def about(seconds: float) -> str:
    """A rough time for people: ``40 s``, ``2 minutes``."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{max(2, round(seconds / 60)):.0f} minutes"


def _compare_backbones(folder: Path, old: Path, new: Path, machine: list[str]) -> dict[tuple[str, str], Path]:
    """Trains four heads for the second task; returns (backbone, number of labels) -> run folder."""
    common = ["--classes", NEW, "--mode", "frozen", "--val-fraction", "0.25", *machine]
    runs: dict[tuple[str, str], Path] = {}
    _say("First with few labels, and for comparison the same head on an untrained backbone:")
    for number, (backbone, labels) in enumerate((("0-4", "few"), ("untrained", "few"), ("untrained", "all")), 1):
        run = runs[backbone, labels] = folder / f"compare-{backbone}-{labels}"
        limit = ["--limit", str(FEW_LABELS)] if labels == "few" else []
        weights = ["--weights", str(old)] if backbone == "0-4" else ["--weights", "none"]
        arguments = ["finetune", "digits", *common, *weights, *limit, "--out", str(run), "--quiet"]
        _run(*arguments, status=f"training {number} of 3")
    _say("Now with all labels:")
    runs["0-4", "all"] = new
    _run("finetune", "digits", *common, "--weights", str(old), "--out", str(new))
    return runs


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
                "So the first stage starts from random weights and learns everything from about 720 scans. With your "
                "own photos you would start from ImageNet weights, and both stages would be far better."
            )
            return "none"
    _say(f"Starting from the ImageNet weights in {folder}.")
    return "imagenet-v1"


def _run(*arguments: str, status: str | None = None) -> None:
    """Prints a command and runs it as if it had been typed; ``status`` is shown while a quiet one runs."""
    from rich.text import Text

    output.show(Text.assemble(("$ ", "bold green"), (shlex.join(["resnet-cli", *arguments]), "bold")))
    with output.status(status or "", quiet=status is None):
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
        f"Top-1 on {num_test} test images of digits 5 to 9; only the backbone differs. Such a comparison also shows "
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


def _show_sheet(run: Path, path: Path) -> None:
    """Draws test images of a run at random, and says how many of all of them are right."""
    from resnet_cli.cli.links import link
    from resnet_cli.cli.terminal_images import show_image

    with output.status("drawing the contact sheet"):
        num_right, num, wrong = _draw_sheet(run, path)
    _say(f"{num_right} of {num} right" + (f"; wrong: {first_of(wrong, 5)}." if wrong else "."))
    if not show_image(path):
        output.show(link(path))


def _draw_sheet(run: Path, path: Path) -> tuple[int, int, list[str]]:
    """Writes the sheet; returns the number of right images, of all images, and what each wrong one was predicted as."""
    import numpy as np

    from resnet_cli.evaluation.evaluate import evaluate
    from resnet_cli.model.weights import load_model
    from resnet_cli.reporting.figures import Heading
    from resnet_cli.reporting.prediction_plot import Tile, plot_predictions
    from resnet_cli.runs import open_run_dataset
    from resnet_cli.system.device import choose_compute

    model = load_model(run)
    items = open_run_dataset(model).split("test")
    found = evaluate(model, items, choose_compute("auto", "auto"))
    names, predicted = found.classes, found.probs.argmax(axis=1)
    wrong = np.flatnonzero(~found.is_right)
    # Drawn from right and wrong ones alike, so that the sheet looks as good as the model is.
    shown = np.random.default_rng(0).permutation(len(items))[:SHEET]
    tiles = [
        Tile(np.asarray(items[at].open()), names[predicted[at]], names[found.labels[at]], float(found.confidence[at]))
        for at in shown
    ]
    num_right = len(items) - len(wrong)
    heading = Heading(
        f"Digits 5 to 9: {num_right} of {len(items)} test images right",
        f"{len(shown)} of them, drawn at random",
        f"resnet-cli demo, {run}",
    )
    plot_predictions(tiles, path, heading, columns=COLUMNS)
    mistakes = [f"{names[found.labels[at]]} predicted as {names[predicted[at]]}" for at in wrong]
    return num_right, len(items), mistakes


def _show_next(folder: Path, run: Path) -> None:
    from resnet_cli.cli.tables import files_block

    files = [
        (str(folder / "contact-sheet.png"), "the digits above, right and wrong"),
        (str(run / "report.html"), "the report: metrics, mistakes, calibration"),
        (str(run / "model.safetensors"), "the new model, one file"),
    ]
    commands = [
        ("resnet-cli finetune YOUR_PHOTOS", "a folder with one subfolder per class"),
        ("resnet-cli eval", "evaluates the latest run on its own test images"),
        ("resnet-cli predict photo.jpg", "classifies an image with the latest run"),
        (f"rm -r {shlex.quote(str(folder))}", "removes the files of this tour"),
    ]
    width = output.stdout().width
    output.show(files_block("Files", files, width=width), files_block("Type next", commands, width=width))


def _offer_report(report: Path, *, is_asked: bool) -> None:
    """Opens the report if ``--open`` says so, or if somebody at a terminal with a screen wants to see it."""
    from resnet_cli.cli.opening import has_display, open_page

    is_attended = sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty() and has_display()
    if is_asked or (is_attended and output.ask("Open the report in the browser? [y/N] ")):
        open_page(report)


def _title(text: str) -> None:
    output.show_line("")
    output.show_prose(text, style="bold cyan")


def _say(text: str) -> None:
    output.show_prose(text)
