"""One training, from the initial network to the report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from resnet_cli.data.dataset import SPLITS, Split
from resnet_cli.errors import DiskError, DivergedError, Interrupted, ModelError
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.heads.logistic import AnyRows
from resnet_cli.history import EpochRecord
from resnet_cli.model.model_file import Exemplars, Model
from resnet_cli.model.start import start_head
from resnet_cli.runs import RunFolder, list_checkpoints
from resnet_cli.system.events import Progress, Status, Warned, Work, WorkDone
from resnet_cli.system.intraop import given_threads
from resnet_cli.training import exemplars
from resnet_cli.training.assembly import build_model, head_with, start_network
from resnet_cli.training.calibrate import calibrate_model
from resnet_cli.training.checkpoint import Checkpoint, drop_after, read_newest
from resnet_cli.training.checkpointer import Checkpointer, head_tensors
from resnet_cli.training.distributed import SINGLE_PROCESS, Distributed
from resnet_cli.training.environment import bits_warning, describe_environment
from resnet_cli.training.events import (
    EpochDone,
    Event,
    OnEvent,
    RateLowered,
    Resumed,
    Saved,
)
from resnet_cli.training.exemplars import Retention
from resnet_cli.training.head_start import start_steps
from resnet_cli.training.int8 import with_quantized
from resnet_cli.training.kept_classes import join_exemplars, keep_calibration, keep_rows
from resnet_cli.training.loop import FitOptions, TrainingTask, fit
from resnet_cli.training.lr_finder import find_lr
from resnet_cli.training.plan import Plan
from resnet_cli.training.report import FinetuneResult, write_report
from resnet_cli.training.split_features import split_features
from resnet_cli.training.state import TrainState
from resnet_cli.training.task_head import fit_linear_head, fit_probe
from resnet_cli.training.task_network import NetworkTraining


class TrainingRun:
    """Trains one plan and writes its run folder.

    Args:
        plan: The plan.
        folder: The run folder.
        on_event: Called with every event.
        distributed: The processes that share the training.
    """

    def __init__(self, plan: Plan, folder: RunFolder, on_event: OnEvent, distributed: Distributed) -> None:
        self._began = time.perf_counter()
        on_event(Status("preparing the network"))
        self._plan, self._folder, self._on_event, self._distributed = plan, folder, on_event, distributed
        self._network = start_network(plan)
        kept: tuple[str, ...] = ()
        if plan.start and plan.start.task == plan.dataset.task:
            kept = start_head(self._network.fc, plan.start, plan.dataset.classes)
        self._head_is_fresh = not kept
        self._train_state: TrainState | None = None
        self._fitted: list[EpochRecord] = []
        self._head_threads: list[list[int]] = []
        self._exemplars: Exemplars | None = None
        self._retention: Retention | None = None
        self._callback = Checkpointer(
            folder,
            snapshot=self._network.state_dict,
            write_model=self._write_model,
            data=plan.fingerprint,
            weights=plan.weights.sha256 if plan.takes_steps else "",
            environment=describe_environment(plan.step_compute, num_processes=distributed.size),
            every_s=plan.config.checkpoint_every,
            writes=distributed.is_main,
        )

    def carry_out(self) -> FinetuneResult:
        """Trains, evaluates and reports."""
        try:
            self._train()
            self._callback.save_model()
            if self._train_state is not None:
                self._callback.finish(self._train_state)
            result = self._evaluate()
            self._distributed.wait()
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
        """Trains with the others, then waits until the main process has evaluated and reported."""
        self._train()
        self._distributed.wait()

    def _train(self) -> None:
        plan = self._plan
        found = read_newest(self._folder.checkpoints_path) if plan.takes_steps else None
        if plan.is_frozen:
            self._train_head(found)
            return
        history = []
        if plan.starts_with_probe and found is None:
            self._fitted = history = [self._probe()]
        self._on_event(Status("preparing the training images"))
        validated = self._progress("validate")
        training = NetworkTraining(plan, self._network, self._distributed, on_validated=validated)
        if plan.config.batch_size == "auto" or plan.compute.type == "cuda":
            training.fit_memory()
        if plan.lr_is_auto and found is None:
            micro_batch = training.train_state.counters.micro_batch
            self._on_event(Status("finding a learning rate"))
            lr = self._distributed.broadcast(self._find_lr(micro_batch) if self._distributed.is_main else 0.0)
            plan = self._plan = plan.with_lr(lr)
            if self._distributed.is_main:
                self._folder.write_inputs(plan.resolved_config(), plan.dataset, plan.skipped, plan.used_images)
            self._on_event(Status("preparing the training images"))
            training = NetworkTraining(plan, self._network, self._distributed, on_validated=validated)
            training.train_state.counters.micro_batch = micro_batch
        # Builds of torch may initialize differently from one seed, and only the main process has trained the probe.
        self._distributed.copy_(list(self._network.state_dict().values()))
        training.train_state.counters.history = history
        self._fit(training.train_state, training.task(), found)

    def _progress(self, task: Work) -> Progress:
        return lambda done, total: self._on_event(WorkDone(task, done, total))

    def _find_lr(self, micro_batch: int) -> float:
        """Runs the range test in this process alone, on whole batches."""
        training = NetworkTraining(self._plan, self._network)
        training.train_state.counters.micro_batch = micro_batch
        return find_lr(training.train_state, training.task(), compute=self._plan.step_compute)

    def _train_head(self, found: tuple[Checkpoint, tuple[str, ...]] | None) -> None:
        self._plan = with_quantized(self._plan, self._network, self._folder, self._distributed, on_event=self._on_event)
        plan, network = self._plan, self._network
        # Test images too: it is the same pass, and a damaged image is found now and not at the end.
        rows = self._features(SPLITS)
        if not self._distributed.is_main:
            return
        old = plan.start if plan.config.add else None
        classes = plan.dataset.classes
        self._on_event(Status("fitting the head"))
        train, val, kept = join_exemplars(plan, rows["train"], rows["val"])
        # Before the training, so that a model that is saved during it has exemplars too.
        self._exemplars = exemplars.choose_exemplars(train, val, num_classes=len(classes), seed=plan.config.seed)
        if plan.solver == "lbfgs":
            self._callback.snapshot = lambda: head_tensors(network.fc)
            head, record, self._fitted = fit_linear_head(plan, train, val, self._on_event, threads=self._head_threads)
            keep_rows(head, network.fc, kept)
            network.fc.load_state_dict(head.state_dict())
            self._callback.keep_if_best(record)
        else:
            training = start_steps(
                plan,
                network.fc,
                train,
                val,
                is_fresh=self._head_is_fresh,
                checkpoint=found[0] if found else None,
                callback=self._callback,
                on_event=self._on_event,
                history=self._fitted,
            )
            self._fit(training.train_state, training.task(), found)
        if old is not None and old.exemplars is not None:
            head = head_with(network.fc, self._callback.state)
            self._retention = exemplars.retention(
                old.exemplars, old.head, head, old_classes=old.classes, classes=classes
            )

    def _probe(self) -> EpochRecord:
        """Trains the head on frozen features; its validation is epoch 0, which may stay the best."""
        rows = self._features(("train", "val"))
        self._on_event(Status("fitting the linear probe"))
        values: dict[str, Any] = {}
        if self._distributed.is_main:
            head, record = fit_probe(self._plan, self._network.fc, rows["train"], rows["val"])
            self._network.fc.load_state_dict(head.state_dict())
            values = record.to_dict()
        record = EpochRecord.from_dict(self._distributed.broadcast(values))
        self._on_event(EpochDone(record, self._callback.keep_if_best(record)))
        return record

    def _fit(
        self, train_state: TrainState, task: TrainingTask, found: tuple[Checkpoint, tuple[str, ...]] | None
    ) -> None:
        plan = self._plan
        if found is not None:
            checkpoint, warnings = found
            self._restore(train_state, checkpoint)
            counters = train_state.counters
            self._on_event(Resumed(counters.epoch, counters.step, warnings, tuple(counters.history)))
            self._warn_of_changes(train_state)
        train_state.counters.elapsed_s += time.perf_counter() - self._began
        self._train_state = train_state
        options = FitOptions(
            epochs=plan.epochs,
            seed=plan.config.seed,
            schedule=plan.schedule,
            warmup=plan.warmup,
            clip_grad=plan.clip_grad,
            average_from=plan.epochs - plan.average + 1 if plan.average else None,
            # With a frozen backbone, the time limit has chosen the mode; it does not limit the head's steps.
            max_time_s=None if plan.is_frozen else plan.config.max_time,
            patience=plan.config.patience,
            target=plan.config.target,
        )
        # The main process trains a head on features alone: that takes seconds.
        distributed = SINGLE_PROCESS if plan.is_frozen else self._distributed
        fit(
            train_state,
            task,
            options,
            compute=plan.step_compute,
            callback=self._callback,
            on_event=self._hear,
            distributed=distributed,
        )

    def _warn_of_changes(self, train_state: TrainState) -> None:
        threads = train_state.counters.threads
        if threads and threads[-1][1] > given_threads():
            self._callback.changes.append(f"threads {threads[-1][1]} -> {given_threads()}")
        if self._callback.changes:
            text = bits_warning(self._callback.changes)
            self._on_event(Warned([text]))
            self._plan = dataclasses.replace(self._plan, warnings=(*self._plan.warnings, text))

    def _hear(self, event: Event) -> None:
        if isinstance(event, RateLowered) and self._train_state is not None and self._distributed.is_main:
            drop_after(self._folder.checkpoints_path, self._train_state.counters.num_steps)
        self._on_event(event)

    def _restore(self, train_state: TrainState, checkpoint: Checkpoint) -> None:
        try:
            train_state.restore(checkpoint)
            self._callback.restore(checkpoint)
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"{self._folder.checkpoints_path}: the newest checkpoint does not belong to this training ({error})",
                hint="was its config.yaml changed? Start a new run: resnet-cli finetune DATA",
            ) from error

    @property
    def _history(self) -> list[EpochRecord]:
        return self._train_state.counters.history if self._train_state is not None else self._fitted

    @property
    def _threads(self) -> list[list[int]]:
        return self._train_state.counters.threads if self._train_state is not None else self._head_threads

    def _features(self, splits: Sequence[Split]) -> dict[Split, AnyRows]:
        return split_features(
            self._plan,
            self._network,
            splits,
            distributed=self._distributed,
            on_progress=self._progress("features"),
        )

    def _evaluate(self) -> FinetuneResult:
        plan, folder = self._plan, self._folder
        assert self._callback.best is not None
        model = self._model(self._callback.state, self._callback.best)

        on_progress = self._progress("evaluate")
        model = calibrate_model(model, plan.dataset, plan.compute, seed=plan.config.seed, on_progress=on_progress)
        model = keep_calibration(model, plan)
        model.save(folder.model_path)
        splits = [plan.dataset.split(split) for split in ("val", "test")]
        val, *test = (evaluate(model, items, plan.compute, on_progress=on_progress) for items in splits if items)
        result = FinetuneResult(
            folder,
            model,
            plan,
            tuple(self._history),
            self._callback.best,
            val,
            test[0] if test else None,
            time.perf_counter() - self._began,
            self._retention,
            self._threads,
        )
        self._on_event(WorkDone("report", 0, None))
        write_report(result)
        return result

    def _rescue(self) -> str:
        """Saves what a training that ends early has reached; returns a sentence that says so."""
        if self._callback.best is None:
            if self._plan.mode == "full":
                return "nothing to keep: the first epoch was not complete"
            return "features computed so far are kept, and the same command continues from them"
        kept = self._callback.save_best(self._history)
        self._folder.write_history(self._history)
        return kept

    def _model(self, state: Mapping[str, Tensor], best: EpochRecord) -> Model:
        return build_model(
            self._plan, self._network, state, best=best, exemplars=self._exemplars, path=self._folder.model_path
        )

    def _write_model(self, state: Mapping[str, Tensor], best: EpochRecord) -> None:
        """Writes the best model and marks its run as the latest."""
        self._model(state, best).save(self._folder.model_path)
        self._folder.mark_latest()
        self._on_event(Saved(self._folder.model_path))
