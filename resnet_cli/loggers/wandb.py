"""Weights & Biases, online or offline (``WANDB_MODE=offline``)."""

from __future__ import annotations

import logging
import os
import uuid
from typing import TYPE_CHECKING, Any

from resnet_cli.errors import SetupError
from resnet_cli.history import EpochRecord
from resnet_cli.loggers.logger import PROJECT, LoggedRun, Outcome, Status, epoch_metrics

if TYPE_CHECKING:
    from resnet_cli.training.events import StepDone

#: Time in seconds to connect; the training does not wait for it.
INIT_S = 60.0
#: Time in seconds until wandb stops uploading when the process ends. What is left stays on disk, for ``wandb sync``.
UPLOAD_S = 45.0
_EXIT_CODES: dict[Status, int] = {"finished": 0, "failed": 1, "killed": 130}


class WandbLogger:
    """Logs one run. The user's own settings (``WANDB_PROJECT``, ``WANDB_NAME``, ...) take precedence."""

    _run: Any = None

    def start(self, run: LoggedRun) -> None:
        """Begins a run of W&B, or continues the one with this run folder's ID.

        Raises:
            SetupError: Nobody is logged in, and the mode is not offline.
        """
        import wandb

        settings = wandb.setup(wandb.Settings(silent=True)).settings
        # wandb itself would ask for a key in the terminal, below the bars of the training.
        if settings.mode not in {"offline", "disabled"} and not wandb.login(prompt=False):
            raise SetupError("not logged in", hint="wandb login, or set WANDB_MODE=offline")
        known = run.remembered("wandb")
        project = known.get("project") or os.environ.get("WANDB_PROJECT") or PROJECT
        ident = known.get("id") or os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:8]
        # Before anything is sent, so that a run which is killed now is still continued.
        run.remember("wandb", project=project, id=ident)
        self._run = wandb.init(
            project=project,
            id=ident,
            resume="allow",
            reinit="create_new",
            name=os.environ.get("WANDB_NAME") or run.name,
            group=os.environ.get("WANDB_RUN_GROUP") or run.group,
            tags=[*run.tags, *filter(None, os.environ.get("WANDB_TAGS", "").split(","))],
            config=dict(run.config),
            allow_val_change=True,
            settings=wandb.Settings(
                silent=True, console="off", init_timeout=INIT_S, finish_timeout=UPLOAD_S, save_code=False
            ),
        )
        for handler in logging.getLogger("wandb").handlers:
            # Its debug log on a full disk, whose traceback would be printed.
            handler.handleError = lambda record: None  # type: ignore[method-assign]
        # Not its own counter of calls, with which a resumed training could not repeat an epoch. A pattern "*" would
        # write an epoch of 0 beside the steps of the first one.
        for name in ("train/*", "val/*", "lr", "seconds"):
            self._run.define_metric(name, step_metric="epoch")
        for name in ("step", "penalty"):
            self._run.define_metric(f"{name}/*", step_metric=f"{name}/number")

    def log_step(self, step: StepDone) -> None:
        """Logs its loss and its throughput."""
        number = (step.epoch - 1) * step.steps + step.step
        self._run.log({"step/number": number, "step/loss": step.loss, "step/images_per_s": step.images_per_s})

    def log_epoch(self, record: EpochRecord) -> None:
        """Logs its numbers."""
        axis = "epoch" if record.l2 is None else "penalty/number"
        self._run.log({axis: record.epoch, **epoch_metrics(record)})

    def log_result(self, outcome: Outcome) -> None:
        """Logs the metrics as the run's summary, the plots as media, and the report with all of them as an artifact."""
        import wandb

        self._run.summary.update({**outcome.metrics, "kept": outcome.kept})
        self._run.log({f"plots/{name}": wandb.Image(str(path)) for name, path in outcome.plots.items()})
        artifact = wandb.Artifact(f"report-{self._run.id}", type="report")
        for path in (*outcome.files, *outcome.plots.values()):
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self, status: Status) -> None:
        """Ends the run, after the uploads."""
        self._run.finish(exit_code=_EXIT_CODES[status])
