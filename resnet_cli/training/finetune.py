"""A finetune from plan to run folder."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import SPLITS, Item, Split
from resnet_cli.errors import DiskError, DivergedError, Interrupted, ModelError
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.model.features import extract_features
from resnet_cli.model.network import Exemplars, Model, ResNet50
from resnet_cli.model.weights import load_backbone, start_head
from resnet_cli.runs import EpochRecord, RunFolder, list_checkpoints
from resnet_cli.system.device import make_deterministic, seed_everything
from resnet_cli.system.events import WorkDone
from resnet_cli.system.intraop import fixed_threads
from resnet_cli.training import exemplars
from resnet_cli.training.calibrate import calibrate_model
from resnet_cli.training.callback import RunCallback, head_tensors
from resnet_cli.training.checkpoint import NUM_KEPT, Checkpoint, drop_after, read_newest
from resnet_cli.training.distributed import SINGLE_PROCESS, Distributed
from resnet_cli.training.events import (
    EpochDone,
    Event,
    OnEvent,
    PlanMade,
    RateLowered,
    Resumed,
    Saved,
    ignore,
)
from resnet_cli.training.exemplars import Retention
from resnet_cli.training.journal import Journal
from resnet_cli.training.loop import FitOptions, Task, fit
from resnet_cli.training.lr_finder import find_lr
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.report import FinetuneResult, write_report
from resnet_cli.training.state import TrainState
from resnet_cli.training.task_head import HeadTraining, Rows, fit_path, fit_probe
from resnet_cli.training.task_network import NetworkTraining
from resnet_cli.version import __version__

#: Rows of a plan that may name places on this machine.
_PATHS = {"data", "weights", "out"}
#: Room for plots, metrics and the rest of a run folder beside the model.
REPORT_BYTES = 20 * 10**6


def finetune(*, on_event: OnEvent = ignore, config_file: Path | None = None, **values: Any) -> FinetuneResult:
    """Plans and runs a finetune from Python.

    Args:
        on_event: Told of everything as it happens.
        config_file: A YAML file; ``values`` win over it.
        **values: Fields of :class:`~resnet_cli.config.finetune.FinetuneConfig`, such as ``data="photos", epochs=5``.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``; nothing half-written is left.
    """
    plan = make_plan(resolve(FinetuneConfig, values, config_file), on_work=lambda *work: on_event(WorkDone(*work)))
    on_event(PlanMade(plan))
    return run_plan(plan, on_event=on_event)


def run_plan(
    plan: Plan, *, on_event: OnEvent, folder: RunFolder | None = None, processes: Distributed = SINGLE_PROCESS
) -> FinetuneResult:
    """Carries out a plan and writes the run folder.

    Args:
        plan: From :func:`~resnet_cli.training.plan.make_plan`.
        on_event: Told of everything as it happens.
        folder: Of a run that goes on from its newest checkpoint; None makes a new one.
        processes: The processes that share the training; this one is the main process, the others :func:`assist`.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``. A new run folder is removed unless it holds something to go on from.
        Interrupted: A signal; its text says what is kept.
    """
    is_new = folder is None
    if folder is None:
        folder = RunFolder.create(plan.config.out, plan.dataset.name, num_bytes=_run_bytes(plan))
    try:
        tensorboard = folder.path / "tensorboard" if plan.config.tensorboard else None
        with Journal(folder.path / "events.jsonl", tensorboard=tensorboard) as journal:
            folder.reopen()
            folder.write_inputs(plan.resolved_config(), plan.dataset, plan.skipped)

            def notify(event: Event) -> None:
                journal(event)
                on_event(event)

            processes.broadcast(str(folder.path))
            with fixed_threads(plan.threads):
                return _Run(plan, folder, notify, processes).carry_out()
    finally:
        if is_new:
            folder.discard()


def run_worker(plan: Plan, processes: Distributed) -> None:
    """Takes part in a training that the main process carries out; writes and says nothing.

    Args:
        plan: The same as the main process's.
        processes: Of which this process is not the main process.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``.
        Interrupted: A signal reached any of the processes.
    """
    folder = RunFolder(Path(processes.broadcast("")))
    with fixed_threads(plan.threads):
        _Run(plan, folder, ignore, processes).run_worker()


class _Run:
    """One run under way.

    Args:
        plan: What to do.
        folder: Where to write.
        on_event: Told of everything.
        processes: The processes that share it.
    """

    def __init__(self, plan: Plan, folder: RunFolder, on_event: OnEvent, processes: Distributed) -> None:
        self._began = time.perf_counter()
        self._plan, self._folder, self._on_event, self._processes = plan, folder, on_event, processes
        self._network = start_network(plan)
        kept = start_head(self._network.fc, plan.start, plan.dataset.classes) if plan.start else ()
        self._head_is_fresh = not kept
        self._train_state: TrainState | None = None
        self._fitted: list[EpochRecord] = []
        self._head_threads: list[list[int]] = []
        self._exemplars: Exemplars | None = None
        self._retention: Retention | None = None
        self._callback = RunCallback(
            folder,
            snapshot=self._network.state_dict,
            write_model=self._write_model,
            data=plan.fingerprint,
            every_s=plan.config.checkpoint_every,
            writes=processes.is_main,
        )

    def carry_out(self) -> FinetuneResult:
        """Trains, judges and reports."""
        try:
            self._train()
            self._callback.save_model()
            if self._train_state is not None:
                self._callback.finish(self._train_state)
            result = self._judge()
            self._processes.wait()
            return result
        except KeyboardInterrupt as interrupt:
            known = interrupt if isinstance(interrupt, Interrupted) else None
            if known and known.kept:
                raise
            raise Interrupted(self._rescue(), signal=known.signal if known else None) from None
        except DiskError as error:
            if not list_checkpoints(self._folder.checkpoints_path):
                raise
            raise DiskError(error.message, hint=f"free some space, then: {self._folder.resume_command}") from error
        except DivergedError as error:
            if self._callback.best is None:
                raise
            raise DivergedError(f"{error.message}; {self._rescue()}", hint=error.hint) from None

    def run_worker(self) -> None:
        """Trains along, and waits until the main process has judged and reported."""
        self._train()
        self._processes.wait()

    def _train(self) -> None:
        plan = self._plan
        found = read_newest(self._folder.checkpoints_path) if plan.takes_steps else None
        if plan.is_frozen:
            self._train_head(found)
            return
        history = []
        if plan.starts_with_probe and found is None:
            self._fitted = history = [self._probe()]
        training = NetworkTraining(plan, self._network, self._processes)
        if plan.config.batch_size == "auto" or plan.compute.type == "cuda":
            training.fit_memory()
        if plan.lr_is_auto and found is None:
            micro_batch = training.train_state.counters.micro_batch
            lr = self._processes.broadcast(self._find_lr(micro_batch) if self._processes.is_main else 0.0)
            plan = self._plan = plan.with_lr(lr)
            if self._processes.is_main:
                self._folder.write_inputs(plan.resolved_config(), plan.dataset, plan.skipped)
            training = NetworkTraining(plan, self._network, self._processes)
            training.train_state.counters.micro_batch = micro_batch
        # The same seed gives the same weights, but not under every build of torch, and the probe is the main process's.
        self._processes.copy_(list(self._network.state_dict().values()))
        training.train_state.counters.history = history
        self._fit(training.train_state, training.task(), found)

    def _find_lr(self, micro_batch: int) -> float:
        """The range test, on whole batches of which nobody else takes a share."""
        training = NetworkTraining(self._plan, self._network)
        training.train_state.counters.micro_batch = micro_batch
        return find_lr(training.train_state, training.task(), compute=self._plan.step_compute)

    def _train_head(self, found: tuple[Checkpoint, tuple[str, ...]] | None) -> None:
        plan, network = self._plan, self._network
        # Test images too: one pass, and a damaged one is found now and not at the end.
        rows = self._features(SPLITS)
        if not self._processes.is_main:
            return
        train, val = rows["train"], rows["val"]
        old = plan.start if plan.config.add else None
        classes = plan.dataset.classes
        if old is not None and old.exemplars is not None:
            train, val = exemplars.join(
                old.exemplars, old_classes=old.classes, train=train, val=val, new_classes=classes, classes=classes
            )
        # Before the training: a model that is saved on the way remembers too.
        self._exemplars = exemplars.remember(train, val, num_classes=len(classes), seed=plan.config.seed)
        if plan.solver == "lbfgs":
            self._callback.snapshot = lambda: head_tensors(network.fc)
            head, record, self._fitted = fit_path(plan, train, val, self._on_event, self._head_threads)
            network.fc.load_state_dict(head.state_dict())
            self._callback.keep(record)
        else:
            training = HeadTraining(plan, network.fc, train, val, is_fresh=self._head_is_fresh)
            self._callback.snapshot = lambda: head_tensors(training.raw_head())
            self._fit(training.train_state, training.task(), found)
        if old is not None and old.exemplars is not None:
            self._retention = exemplars.retention(
                old.exemplars, old.head, self._best_head(), old_classes=old.classes, classes=classes
            )

    def _probe(self) -> EpochRecord:
        """Trains the head on frozen features; its answers on validation are epoch 0, and may be the best."""
        rows = self._features(("train", "val"))
        values: dict[str, Any] = {}
        if self._processes.is_main:
            head, record = fit_probe(self._plan, self._network.fc, rows["train"], rows["val"])
            self._network.fc.load_state_dict(head.state_dict())
            values = dataclasses.asdict(record)
        record = EpochRecord(**self._processes.broadcast(values))
        self._on_event(EpochDone(record, self._callback.keep(record)))
        return record

    def _fit(self, train_state: TrainState, task: Task, found: tuple[Checkpoint, tuple[str, ...]] | None) -> None:
        plan = self._plan
        if found is not None:
            checkpoint, warnings = found
            self._restore(train_state, checkpoint)
            self._on_event(Resumed(train_state.counters.epoch, train_state.counters.step, warnings))
        train_state.counters.elapsed_s += time.perf_counter() - self._began
        self._train_state = train_state
        options = FitOptions(
            epochs=plan.epochs,
            seed=plan.config.seed,
            schedule=plan.schedule,
            warmup=plan.warmup,
            clip_grad=plan.clip_grad,
            average_from=plan.epochs - plan.average + 1 if plan.average else None,
            # With a frozen backbone the time has chosen the mode; the head's steps are none of it.
            max_time_s=None if plan.is_frozen else plan.config.max_time,
            patience=plan.config.patience,
            target=plan.config.target,
        )
        # A head on features is trained by the main process alone: that takes seconds.
        processes = SINGLE_PROCESS if plan.is_frozen else self._processes
        fit(
            train_state,
            task,
            options,
            compute=plan.step_compute,
            callback=self._callback,
            on_event=self._hear,
            processes=processes,
        )

    def _hear(self, event: Event) -> None:
        if isinstance(event, RateLowered) and self._train_state is not None and self._processes.is_main:
            drop_after(self._folder.checkpoints_path, self._train_state.counters.num_steps)
        self._on_event(event)

    def _restore(self, train_state: TrainState, checkpoint: Checkpoint) -> None:
        try:
            train_state.restore(checkpoint)
            self._callback.restore(checkpoint)
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"{self._folder.checkpoints_path}: the newest checkpoint is not of this training ({error})",
                hint="was its config.yaml changed? Start again: resnet-cli finetune DATA",
            ) from error

    @property
    def _history(self) -> list[EpochRecord]:
        return self._train_state.counters.history if self._train_state is not None else self._fitted

    @property
    def _threads(self) -> list[list[int]]:
        return self._train_state.counters.threads if self._train_state is not None else self._head_threads

    def _features(self, splits: Sequence[Split]) -> dict[Split, Rows]:
        """The features of some splits; only the main process of several processes gets them."""
        plan = self._plan
        items = {split: plan.dataset.split(split) for split in splits}
        all_items = [item for split in splits for item in items[split]]

        def compute_rows(items: Sequence[Item]) -> Tensor:
            return extract_features(
                self._network,
                items,
                plan.preprocess,
                plan.compute,
                on_progress=lambda done, total: self._on_event(WorkDone("features", done, total)),
            )

        if self._processes.size > 1:
            # Each process brings its share into the cache, and the main process finds all of them there.
            compute_rows(self._processes.share(all_items))
            self._processes.wait()
        if not self._processes.is_main:
            return {}
        features = compute_rows(all_items)
        parts = torch.split(features, [len(items[split]) for split in splits])
        return {
            split: (part, torch.tensor([item.label for item in items[split]], dtype=torch.int64))
            for split, part in zip(splits, parts, strict=True)
        }

    def _on_evaluate(self, done: int, total: int) -> None:
        self._on_event(WorkDone("evaluate", done, total))

    def _judge(self) -> FinetuneResult:
        plan, folder = self._plan, self._folder
        assert self._callback.best is not None
        model = self._model(self._callback.state, self._callback.best)
        model = calibrate_model(model, plan.dataset, plan.compute, seed=plan.config.seed, on_progress=self._on_evaluate)
        model.save(folder.model_path)
        val = self._evaluate(model, "val")
        test = self._evaluate(model, "test") if plan.dataset.split("test") else None
        seconds = time.perf_counter() - self._began
        result = FinetuneResult(
            folder,
            model,
            plan,
            tuple(self._history),
            self._callback.best,
            val,
            test,
            seconds,
            self._retention,
            self._threads,
        )
        write_report(result)
        return result

    def _evaluate(self, model: Model, split: Split) -> Evaluation:
        return evaluate(
            model,
            self._plan.dataset.split(split),
            self._plan.compute,
            on_progress=self._on_evaluate,
        )

    def _rescue(self) -> str:
        """Saves what there is when a training ends early, and says so."""
        best = self._callback.best
        if best is None:
            if self._plan.mode == "full":
                return "nothing to keep: the first epoch was not over"
            return "features computed so far are kept, and the same command goes on from there"
        self._callback.save_model()
        self._folder.write_history(self._history)
        return (
            f"kept {self._folder.model_path}, the best of {self._history[-1].epoch} epochs "
            f"(validation top-1 {best.val_top1:.1%}){self._going_on()}"
        )

    def _going_on(self) -> str:
        is_possible = list_checkpoints(self._folder.checkpoints_path)
        return f"; go on with: {self._folder.resume_command}" if is_possible else ""

    def _best_head(self) -> torch.nn.Module:
        head = copy.deepcopy(self._network.fc).cpu()
        head.load_state_dict({name.removeprefix("fc."): tensor for name, tensor in self._callback.state.items()})
        return head

    def _model(self, state: Mapping[str, Tensor], best: EpochRecord) -> Model:
        network = copy.deepcopy(self._network).cpu()
        network.load_state_dict(network.state_dict() | dict(state))
        plan = self._plan
        return Model(
            network=network.eval(),
            classes=plan.dataset.classes,
            preprocess=plan.preprocess,
            hidden=plan.hidden,
            provenance=_provenance(plan, best),
            path=self._folder.model_path,
            exemplars=self._exemplars,
        )

    def _write_model(self, state: Mapping[str, Tensor], best: EpochRecord) -> None:
        """Writes the best model and makes its run the latest."""
        self._model(state, best).save(self._folder.model_path)
        self._folder.mark_latest()
        self._on_event(Saved(self._folder.model_path))


def start_network(plan: Plan) -> ResNet50:
    """The network as training finds it: the plan's weights, and a fresh head.

    Raises:
        ModelError: The weights file is damaged or of another architecture.
        UntrustedFileError: It would run code when loaded.
    """
    seed_everything(plan.config.seed)
    if plan.config.deterministic:
        make_deterministic()
    network = ResNet50(len(plan.dataset.classes), plan.hidden)
    load_backbone(network, plan.weights)
    return network


def _run_bytes(plan: Plan) -> int:
    """What the run folder will hold at most: the model and, where the backbone trains, two checkpoints and the next."""
    model = 4 * 25_600_000 + exemplars.max_bytes(len(plan.dataset.classes))
    if plan.is_frozen:
        return REPORT_BYTES + model
    per_checkpoint = (3 if plan.rates.optimizer == "sgd" else 4) + (plan.ema is not None or plan.average is not None)
    return REPORT_BYTES + 2 * model + (NUM_KEPT + 1) * per_checkpoint * model


def _provenance(plan: Plan, best: EpochRecord) -> dict[str, Any]:
    """What is worth knowing about a model file that travels alone; no paths of the machine it was made on."""
    counts = {split: sum(per_class) for split, per_class in plan.dataset.counts().items()}
    return {
        "resnet_cli": __version__,
        "torch": str(torch.__version__),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"name": plan.dataset.name, "num_images": counts, "split": plan.dataset.split_note},
        "weights": Path(plan.weights.name).name,
        "recipe": {choice.name: choice.value for choice in plan.choices if choice.name not in _PATHS},
        "classes_kept_from": list(plan.start.classes) if plan.config.add and plan.start else [],
        "best": dataclasses.asdict(best),
    }
