from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

from resnet_cli.history import EpochRecord
from resnet_cli.studio.calls import Call
from resnet_cli.studio.jobs import Job
from resnet_cli.studio.messages import describe
from resnet_cli.studio.project import Project
from resnet_cli.system.events import Work, WorkDone
from resnet_cli.training.events import EpochDone, Resumed

RECORD = EpochRecord(1, 0.9, 0.5, 0.8, 0.6, 0.7, 0.01, 1.0)


def _record(epoch: int, loss: float) -> EpochRecord:
    return dataclasses.replace(RECORD, epoch=epoch, val_fitted_loss=loss)


def _job() -> Job:
    return Job(1, "train", Project(Path("pets")), Call("finetune", ("images",)))


def test_every_kind_of_work_has_words_on_the_page() -> None:
    for task in get_args(Work):
        message = describe(WorkDone(task, 1, 2))
        assert message is not None and message["doing"]


def test_an_epoch_that_starts_again_replaces_its_first_try_and_one_epoch_is_kept() -> None:
    job = _job()
    for epoch, loss in ((1, 0.5), (2, 0.4), (3, 0.9), (2, 0.3)):
        message = describe(EpochDone(_record(epoch, loss), is_best=loss < 0.6))
        assert message is not None
        job.take(message)
    assert [(one["number"], one["val_loss"], one["is_kept"]) for one in job.epochs] == [(1, 0.5, False), (2, 0.3, True)]


def test_a_training_that_continues_shows_the_epochs_before() -> None:
    job = _job()
    message = describe(Resumed(3, 0, history=(_record(1, 0.2), _record(2, 0.4))))
    assert message is not None
    job.take(message)
    message = describe(EpochDone(_record(3, 0.3), is_best=False))
    assert message is not None
    job.take(message)
    assert [(one["number"], one["is_kept"]) for one in job.epochs] == [(1, True), (2, False), (3, False)]
