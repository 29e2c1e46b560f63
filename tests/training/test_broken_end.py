"""An end that is broken off anywhere: what is left says so, can be continued, and takes nothing good away."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import ending, finish, finished_run, start_attempt, tiny_spec, train_here

from visionjobs.arrays import pack_arrays, unpack_arrays
from visionjobs.errors import FinalError, StorageError, UserError
from visionjobs.models.trained import load_trained
from visionjobs.predictions import Predictions
from visionjobs.report.load import load_summary
from visionjobs.report.provenance import notes
from visionjobs.runs import Attempt, Run
from visionjobs.storage import Store
from visionjobs.storage_folder import FolderStore
from visionjobs.tracking.mirror import Off
from visionjobs.training import driver
from visionjobs.training import ending as ending_module
from visionjobs.training.finalise import Ending
from visionjobs.training.watch import Watcher, _Progress

CPU = torch.device("cpu")


def break_off_at(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The storage fails when the finaliser comes to write `key`."""
    write = FolderStore.write

    def failing(self: FolderStore, name: str, data: bytes | str, *, if_absent: bool = False) -> None:
        if name == key:
            raise StorageError("the disk is full")
        write(self, name, data, if_absent=if_absent)

    monkeypatch.setattr(FolderStore, "write", failing)


@pytest.mark.parametrize("key", ["predictions/val.parquet", "metrics.json", "weights/tiny.pth", "report.html"])
def test_broken_off_while_it_was_written(root: Store, monkeypatch, key: str) -> None:
    spec = tiny_spec("train.epochs=1")
    attempt = start_attempt(root, spec)
    with monkeypatch.context() as patch, pytest.raises(StorageError):
        break_off_at(key, patch)
        finish(root, attempt, spec)
    run = attempt.run
    assert run.record()["state"] == "interrupted"
    if key != "report.html":  # from there on the weights are as recorded
        with pytest.raises(UserError, match=f"--run {run.id}"):
            load_trained(run, CPU)
    finish(root, run.claim("attempt", {"gpus": 0}), spec)
    assert run.record()["state"] == "complete"
    load_trained(run, CPU)


def test_trained_further_and_broken_off(root: Store, monkeypatch) -> None:
    """The weights of the earlier end stay usable until the new ones are there; its metrics are told to be of it."""
    run = finished_run(root, "train.epochs=1")
    longer = tiny_spec("train.epochs=2")
    with monkeypatch.context() as patch, pytest.raises(StorageError):
        break_off_at("metrics.json", patch)
        finish(root, run.claim("attempt", {"gpus": 0}), longer)
    load_trained(run, CPU)
    section = notes(load_summary(run), ())
    assert "those of its earlier end" in str(section)
    finish(root, run.claim("attempt", {"gpus": 0}), longer)
    assert "earlier end" not in str(notes(load_summary(run), ()))
    assert run.record()["outcome"] == "complete"


def test_temporary_files_that_stay_do_not_undo_a_complete_run(root: Store, monkeypatch, caplog) -> None:
    spec = tiny_spec("train.epochs=1")
    attempt = start_attempt(root, spec)
    delete = FolderStore.delete

    def failing(self: FolderStore, keys) -> None:
        wanted = list(keys)
        if any(key.endswith("outputs.npz") for key in wanted):
            raise StorageError("not now")
        delete(self, wanted)

    monkeypatch.setattr(FolderStore, "delete", failing)
    finish(root, attempt, spec)
    assert attempt.run.record()["state"] == "complete"
    assert "could not be deleted: not now" in caplog.text


def test_runs_of_older_versions_are_told_apart_from_damaged_ones(root: Store) -> None:
    run = finished_run(root, "train.epochs=1")
    attempt = Attempt(run, run.claims()[-1].number)
    sha256 = run.record()["weights"]
    attempt.update_record(weights=None)
    with pytest.raises(UserError, match="made by an older version, which kept no sha256"):
        load_trained(run, CPU)
    attempt.update_record(weights=sha256 | {"sha256": "0" * 64})
    with pytest.raises(FinalError, match="is damaged"):
        load_trained(run, CPU)
    attempt.update_record(weights=sha256)
    run.store.write("dataset.json", '{"classes": 3}')
    with pytest.raises(UserError, match=r"dataset\.json: format"):
        load_trained(run, CPU)
    run.store.delete(["dataset.json"])
    with pytest.raises(UserError, match=r"dataset\.json is missing.*made by an older version"):
        load_trained(run, CPU)


def test_rows_of_epochs_that_are_trained_anew_are_not_mirrored(root: Store) -> None:
    """Attempt 1 wrote five epochs and its last checkpoint is of the second; attempt 2 has just written its third."""
    told: list[list[tuple[int, str]]] = []

    class Mirror(Off):
        def rows(self, history) -> None:
            told.append([(row["epoch"], row["by"]) for row in history])

    first = start_attempt(root, tiny_spec())
    first.write("metrics.jsonl", "".join(f'{{"epoch": {epoch}, "by": "old"}}\n' for epoch in range(5)))
    second = first.run.claim("attempt", {})
    second.write("metrics.jsonl", '{"epoch": 2, "by": "new"}\n')
    second.write("progress.json", '{"rows": [{"epoch": 2}]}')
    progress = _Progress(second, Watcher(*[lambda *_: None] * 5), Mirror())
    progress.look()
    progress.look()
    assert told == [[(0, "old"), (1, "old"), (2, "new")]] * 2


def damaged(whole: bytes, seed: int) -> bytes:
    """A copy cut off, or with a few bytes changed."""
    generator = np.random.default_rng(seed)
    if seed % 3 == 0:
        return whole[: generator.integers(len(whole))]
    changed = bytearray(whole)
    for at in generator.integers(len(whole), size=1 + seed % 5):
        changed[at] ^= int(generator.integers(1, 256))
    return bytes(changed)


def test_damaged_files_are_named_whatever_their_bytes_are() -> None:
    arrays = {"a/b": np.arange(300, dtype=np.float32).reshape(30, 10), "c": np.arange(5)}
    logits = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    paths = tuple(f"{number}.png" for number in range(40))
    predictions = Predictions("val", ("x", "y", "z"), paths, np.arange(40) % 3, logits)
    npz, parquet = pack_arrays(arrays), predictions.to_parquet()
    refused = 0
    for seed in range(600):
        for data, read in ((damaged(npz, seed), unpack_arrays), (damaged(parquet, seed), Predictions.from_parquet)):
            try:
                read(data, "the file")
            except UserError as error:
                refused += 1
                assert "the file" in str(error)
    assert refused > 600, "most are noticed"


def test_interrupt_after_the_end_leaves_the_run_complete(root: Store, monkeypatch) -> None:
    spec = tiny_spec("train.epochs=1")
    attempt = start_attempt(root, spec)
    ended: list[str] = []

    class Mirror(Off):
        def finish(self, summary, state, fence) -> None:
            ended.append(state)
            self.warnings.append("wandb: the server refused some of the data")

    def interrupted(_run: Run) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ending_module, "tidy_up", interrupted)
    told = ending(root)
    driver._record_start(attempt, spec, [])
    with pytest.raises(KeyboardInterrupt):
        driver._to_the_end(
            attempt,
            spec,
            lambda: train_here(root, attempt, spec),
            Watcher(*[lambda *_: None] * 5),
            Ending(told.root, told.cache, told.warn, told.stage, Mirror()),
        )
    assert attempt.run.record()["state"] == "complete"
    assert ended == ["complete"]
    assert attempt.run.record()["warnings"] == ["wandb: the server refused some of the data"]
