"""TensorBoard: event files in the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_cli.history import EpochRecord
from resnet_cli.loggers.logger import LoggedRun, Outcome, Status, epoch_metrics

if TYPE_CHECKING:
    from resnet_cli.training.events import StepDone


class TensorBoardLogger:
    """Writes scalars, the config and the plots into ``tensorboard/`` of the run."""

    _writer: Any = None

    def start(self, run: LoggedRun) -> None:
        """Opens a new file there; TensorBoard joins it with those of the run's earlier processes."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.folder / "tensorboard"))
        rows = "\n".join(f"| {name} | {value} |" for name, value in run.config.items())
        self._writer.add_text("config", f"| field | value |\n|---|---|\n{rows}")
        self._writer.add_text("tags", ", ".join(run.tags))

    def log_step(self, step: StepDone) -> None:
        """Writes its loss and its throughput."""
        at = (step.epoch - 1) * step.steps + step.step
        self._writer.add_scalar("train/step_loss", step.loss, at)
        self._writer.add_scalar("train/images_per_s", step.images_per_s, at)

    def log_epoch(self, record: EpochRecord) -> None:
        """Writes its numbers, and flushes the file."""
        for name, value in epoch_metrics(record).items():
            self._writer.add_scalar(name, value, record.epoch)
        self._writer.flush()

    def log_result(self, outcome: Outcome) -> None:
        """Writes the metrics and the plots."""
        import numpy as np
        from PIL import Image

        for name, value in outcome.metrics.items():
            self._writer.add_scalar(name, value)
        self._writer.add_text("kept", outcome.kept)
        for name, path in outcome.plots.items():
            with Image.open(path) as image:
                self._writer.add_image(f"plots/{name}", np.asarray(image.convert("RGB")), dataformats="HWC")

    def close(self, status: Status) -> None:
        """Closes the file."""
        self._writer.close()
