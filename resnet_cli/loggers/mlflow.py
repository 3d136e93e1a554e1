"""MLflow, in the store that ``MLFLOW_TRACKING_URI`` names; without it in ``mlflow.db`` of the current folder."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from resnet_cli.history import EpochRecord
from resnet_cli.loggers.logger import PROJECT, LoggedRun, Outcome, Status, epoch_metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resnet_cli.training.events import StepDone

#: Limits of one request.
#: Source: mlflow/utils/validation.py, MAX_PARAMS_TAGS_PER_BATCH and MAX_PARAM_VAL_LENGTH.
MAX_PARAMS, MAX_VALUE = 100, 6000
_STATES: dict[Status, str] = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class MlflowLogger:
    """Logs one run, through a client of its own: an active run of the calling program is left alone."""

    _client: Any = None
    _run_id = ""

    def start(self, run: LoggedRun) -> None:
        """Begins a run of MLflow, or continues the one that this run folder was logged as."""
        # Its notes about the tables that it creates would be lines among those of the training.
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        found = self._find(run.remembered("mlflow").get("run_id"))
        if found is None:
            tags = {"mlflow.source.name": "resnet-cli", "tags": ", ".join(run.tags)}
            if run.group:
                tags["group"] = run.group
            found = self._client.create_run(self._experiment(), run_name=run.name, tags=tags)
            run.remember("mlflow", run_id=found.info.run_id, store=self._client.tracking_uri)
        else:
            self._client.update_run(found.info.run_id, status="RUNNING")
        self._run_id = found.info.run_id
        self._log_config(run.config, dict(found.data.params))

    def log_step(self, step: StepDone) -> None:
        """Logs its loss and its throughput."""
        number = (step.epoch - 1) * step.steps + step.step
        self._log({"step/loss": step.loss, "step/images_per_s": step.images_per_s}, number)

    def log_epoch(self, record: EpochRecord) -> None:
        """Logs its numbers."""
        self._log(epoch_metrics(record), record.epoch)

    def log_result(self, outcome: Outcome) -> None:
        """Logs the metrics, and the report and the plots as artifacts."""
        self._log(outcome.metrics, 0)
        self._client.set_tag(self._run_id, "kept", outcome.kept)
        for path in outcome.files:
            self._client.log_artifact(self._run_id, str(path))
        for path in outcome.plots.values():
            self._client.log_artifact(self._run_id, str(path), "plots")

    def close(self, status: Status) -> None:
        """Ends the run."""
        self._client.set_terminated(self._run_id, _STATES[status])

    def _experiment(self) -> str:
        if ident := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return ident
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)

    def _find(self, run_id: str | None) -> Any:
        """The run with this ID; None if this store has none, such as after a change of the store."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id) if run_id else None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _log_config(self, config: Mapping[str, Any], known: Mapping[str, str]) -> None:
        """Logs the config as parameters. MLflow refuses to change one, so a resumed run's changes become tags."""
        from mlflow.entities import Param, RunTag

        values = {name: str(value)[:MAX_VALUE] for name, value in config.items()}
        new = [Param(name, value) for name, value in values.items() if name not in known]
        changed = [
            RunTag(f"resumed.{name}", values[name]) for name in values if known.get(name, values[name]) != values[name]
        ]
        for start in range(0, len(new), MAX_PARAMS):
            self._client.log_batch(self._run_id, params=new[start : start + MAX_PARAMS])
        self._client.log_batch(self._run_id, tags=changed)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self._run_id, metrics=[Metric(name, value, now, step) for name, value in values.items()])
