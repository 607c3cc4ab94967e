"""What a rank opens for its tasks."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.workers.test_ranks import settings_of, task_of
from workers import training
from workers.rank import Checkpoints, Session
from workers.run_folder import RunFolder
from workers.settings import ShapesClassification, ShapesData
from workers.task import TrainingResult, ignore_progress, never_stop


def test_the_ranks_of_a_worker_share_what_its_caches_may_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    for name in ("open_detection_data", "open_classification_data"):
        monkeypatch.setattr(training, name, lambda settings: limits.append(settings.cache_bytes))
    for name in ("train_detector", "pretrain"):
        done = TrainingResult(metrics={}, weights=b"", peak_memory_bytes=0)
        monkeypatch.setattr(training, name, lambda *_, done=done, **__: done)
    settings = replace(
        settings_of(tmp_path),
        num_ranks=4,
        data=ShapesData(format="shapes", cache_bytes=1001),
        reignition_data=ShapesClassification(format="shapes", cache_bytes=400),
    )
    trainer = training.NetworkTrainer(settings)
    for kind in ("train_detector", "pretrain"):
        task = task_of(kind)
        session = Session(
            place=None,
            parent=None,
            backbone=None,
            checkpoints=Checkpoints(RunFolder(tmp_path), task),
            on_progress=ignore_progress,
            should_stop=never_stop,
        )
        trainer.train(task, session)
    assert limits == [250, 100]
