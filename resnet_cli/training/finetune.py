"""A finetune from plan to run folder."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import resnet_cli
from resnet_cli.config import FinetuneConfig, resolve
from resnet_cli.data.dataset import SPLITS, Item, Split
from resnet_cli.device import seed_everything
from resnet_cli.errors import DivergedError, Interrupted
from resnet_cli.evaluation import Evaluation, evaluate
from resnet_cli.features import extract_features
from resnet_cli.model import Model, ResNet50
from resnet_cli.paths import make_dir
from resnet_cli.reporting.plots import CurvePoint, plot_confusion, plot_curves, plot_predictions
from resnet_cli.training.events import EpochDone, EpochRecord, Event, OnEvent, PlanMade, Saved, WorkDone, ignore
from resnet_cli.training.full import fit_network
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.probe import fit_head
from resnet_cli.training.run import RunFolder
from resnet_cli.weights import load_backbone

SCHEMA_VERSION = 1
#: The best model so far is written to disk this often: what a killed training can lose at most.
SAVE_EVERY_S = 60
#: Room for plots, metrics and the rest of a run folder beside the model.
REPORT_BYTES = 20 * 10**6
#: Pictures in the plot of validation predictions.
NUM_SHOWN = 25


@dataclasses.dataclass(frozen=True)
class FinetuneResult:
    """What a finetune reached.

    Attributes:
        run: The run folder.
        model: What was kept: the best epoch on validation.
        plan: What was decided before.
        history: One record an epoch.
        best: The record of the epoch that was kept.
        val: The kept model on the validation split, which chose the epoch.
        test: On the test split, which chose nothing; None if there is none.
        seconds: Wall time from the plan to the last evaluation.
    """

    run: RunFolder
    model: Model
    plan: Plan
    history: tuple[EpochRecord, ...]
    best: EpochRecord
    val: Evaluation
    test: Evaluation | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The summary that ``finetune --json`` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "run": str(self.run.path),
            "model": str(self.run.model_path),
            "mode": self.plan.mode,
            "weights": self.plan.weights.name,
            "num_classes": len(self.model.classes),
            "num_skipped": len(self.plan.skipped),
            "num_images": {split: len(self.plan.dataset.split(split)) for split in SPLITS},
            "epochs": len(self.history),
            "best_epoch": self.best.epoch,
            "val_top1": self.val.top1,
            "test_top1": self.test.top1 if self.test else None,
            "seconds": round(self.seconds, 3),
        }


def finetune(*, on_event: OnEvent = ignore, config_file: Path | None = None, **values: Any) -> FinetuneResult:
    """Plans and runs a finetune from Python.

    Args:
        on_event: Told of everything as it happens.
        config_file: A YAML file; ``values`` win over it.
        **values: Fields of :class:`~resnet_cli.config.FinetuneConfig`, such as ``data="photos", epochs=5``.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``; nothing half-written is left.
    """
    plan = make_plan(resolve(FinetuneConfig, values, config_file), on_work=lambda *work: on_event(WorkDone(*work)))
    on_event(PlanMade(plan))
    return run_plan(plan, on_event=on_event)


def run_plan(plan: Plan, *, on_event: OnEvent) -> FinetuneResult:
    """Carries out a plan and writes the run folder.

    Args:
        plan: From :func:`~resnet_cli.training.plan.make_plan`.
        on_event: Told of everything as it happens.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``. The run folder is removed unless it holds a model.
        Interrupted: Ctrl-C; its text says what is kept.
    """
    began = time.perf_counter()
    network = start_network(plan)
    num_bytes = sum(tensor.nbytes for tensor in network.state_dict().values()) + REPORT_BYTES
    folder = RunFolder.create(plan.config.out, plan.dataset.name, num_bytes=num_bytes)
    keeper = _Keeper(plan, network, folder, on_event)
    try:
        folder.write_inputs(plan.resolved_config(), plan.dataset, plan.skipped)
        _train(plan, network, keeper)
        model = keeper.save()
        val = _evaluate_split(plan, model, "val", on_event)
        test = _evaluate_split(plan, model, "test", on_event) if plan.dataset.split("test") else None
        seconds = time.perf_counter() - began
        result = FinetuneResult(folder, model, plan, tuple(keeper.history), keeper.best_record, val, test, seconds)
        _write_report(result)
        return result
    except KeyboardInterrupt:
        raise Interrupted(keeper.rescue()) from None
    except DivergedError as error:
        if keeper.is_empty:
            raise
        raise DivergedError(f"{error.message}; {keeper.rescue()}", hint=error.hint) from None
    finally:
        folder.discard()


class _Keeper:
    """Keeps the best epoch's weights in memory, and on disk at least every minute."""

    def __init__(self, plan: Plan, network: ResNet50, folder: RunFolder, on_event: OnEvent) -> None:
        self._plan = plan
        self._network = network
        self._folder = folder
        self._on_event = on_event
        self._state: dict[str, torch.Tensor] | None = None
        self._record: EpochRecord | None = None
        self._saved_at = time.perf_counter()
        self.history: list[EpochRecord] = []

    def __call__(self, event: Event) -> None:
        """Passes an event on, and remembers the epochs."""
        if isinstance(event, EpochDone):
            self.history.append(event.record)
        self._on_event(event)

    @property
    def is_empty(self) -> bool:
        return self._record is None

    @property
    def best_record(self) -> EpochRecord:
        assert self._record is not None
        return self._record

    def keep_head(self, record: EpochRecord, head: nn.Module) -> None:
        self._keep(record, {f"fc.{name}": tensor for name, tensor in head.state_dict().items()})

    def keep_network(self, record: EpochRecord) -> None:
        self._keep(record, self._network.state_dict())

    def save(self) -> Model:
        """Writes the best model and makes its run the latest."""
        assert self._state is not None
        network = copy.deepcopy(self._network).cpu()
        network.load_state_dict(network.state_dict() | self._state)
        plan = self._plan
        model = Model(
            network=network.eval(),
            classes=plan.dataset.classes,
            preprocess=plan.preprocess,
            hidden=plan.hidden,
            provenance=_provenance(plan, self.best_record),
            path=self._folder.model_path,
        )
        model.save(self._folder.model_path)
        self._folder.mark_latest()
        self._saved_at = time.perf_counter()
        self._on_event(Saved(self._folder.model_path))
        return model

    def rescue(self) -> str:
        """Saves what there is when a training ends early, and says so."""
        if self._record is None:
            if self._plan.mode == "full":
                return "nothing to keep: the first epoch was not over"
            return "features computed so far are kept, and the same command goes on from there"
        self.save()
        self._folder.write_history(self.history)
        return (
            f"kept {self._folder.model_path}, the best of {len(self.history)} epochs "
            f"(validation top-1 {self._record.val_top1:.1%})"
        )

    def _keep(self, record: EpochRecord, state: dict[str, torch.Tensor]) -> None:
        self._state = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
        self._record = record
        if time.perf_counter() - self._saved_at > SAVE_EVERY_S:
            self.save()


def start_network(plan: Plan) -> ResNet50:
    """The network as training finds it: the plan's weights, a fresh head.

    Raises:
        ModelError: The weights file is damaged or of another architecture.
        UntrustedFileError: It would run code when loaded.
    """
    seed_everything(plan.config.seed)
    network = ResNet50(len(plan.dataset.classes), plan.hidden)
    load_backbone(network, plan.weights)
    return network


def _train(plan: Plan, network: ResNet50, keeper: _Keeper) -> None:
    if plan.mode == "full":
        fit_network(plan, network, on_best=keeper.keep_network, on_event=keeper)
        return
    # Test pictures too: one pass, and a damaged one is found now and not at the end.
    splits = {split: plan.dataset.split(split) for split in SPLITS}
    features = extract_features(
        network,
        [item for items in splits.values() for item in items],
        plan.preprocess,
        plan.compute,
        on_progress=lambda done, total: keeper(WorkDone("features", done, total)),
    )
    train, val, _ = torch.split(features, [len(items) for items in splits.values()])
    fit_head(
        plan,
        network.fc,
        (train, _labels(splits["train"])),
        (val, _labels(splits["val"])),
        on_best=keeper.keep_head,
        on_event=keeper,
    )


def _evaluate_split(plan: Plan, model: Model, split: Split, on_event: OnEvent) -> Evaluation:
    return evaluate(
        model,
        plan.dataset.split(split),
        plan.compute,
        on_progress=lambda done, total: on_event(WorkDone("evaluate", done, total)),
    )


def _write_report(result: FinetuneResult) -> None:
    run, plan = result.run, result.plan
    run.write_history(result.history)
    run.write_metrics(
        result.to_dict() | {"val": result.val.to_dict(), "test": result.test.to_dict() if result.test else None}
    )
    make_dir(run.plots_path)
    points = [
        CurvePoint(record.epoch, record.train_loss, record.val_loss, record.val_top1, record.train_top1)
        for record in result.history
    ]
    plot_curves(points, run.plots_path / "curves.png", best_epoch=result.best.epoch)
    judged = result.test or result.val
    plot_confusion(judged.confusion, judged.classes, run.plots_path / "confusion.png")
    items = plan.dataset.split("val")
    order = np.random.default_rng(plan.config.seed).permutation(len(items))[:NUM_SHOWN]
    probs = result.val.probs[order]
    classes = result.model.classes
    plot_predictions(
        [_thumbnail(items[index]) for index in order],
        [classes[items[index].label] for index in order],
        [classes[index] for index in probs.argmax(axis=1)],
        probs.max(axis=1).tolist(),
        run.plots_path / "predictions.png",
    )


def _thumbnail(item: Item) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = item.open()
    image.thumbnail((256, 256))
    return np.asarray(image)


def _provenance(plan: Plan, best: EpochRecord) -> dict[str, Any]:
    """What is worth knowing about a model file that travels alone; no paths of the machine it was made on."""
    counts = {split: sum(per_class) for split, per_class in plan.dataset.counts().items()}
    return {
        "resnet_cli": resnet_cli.__version__,
        "torch": str(torch.__version__),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"name": plan.dataset.name, "num_images": counts, "split": plan.dataset.split_note},
        "weights": Path(plan.weights.name).name,
        "recipe": {choice.name: choice.value for choice in plan.choices if choice.name not in {"data", "weights"}},
        "best": dataclasses.asdict(best),
    }


def _labels(items: Sequence[Item]) -> torch.Tensor:
    return torch.tensor([item.label for item in items], dtype=torch.int64)
