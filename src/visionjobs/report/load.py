"""A run's folder -> RunSummary: everything that its pages and its mirror in wandb are made of."""

from __future__ import annotations

from visionjobs import predictions, sample_images
from visionjobs.arrays import Arrays, unpack_arrays
from visionjobs.errors import MissingObjectError
from visionjobs.predictions import Predictions
from visionjobs.report.summary import RunSummary
from visionjobs.runs import Run
from visionjobs.sample_images import SampleImages


def load_summary(run: Run) -> RunSummary:
    """Read what there is of the run; parts that are not there yet are left empty. Raises UserError (damaged file)."""
    spec = run.spec_now()
    key = predictions.KEY.format(split="val")
    predicted, samples = _read(run, key), _read(run, sample_images.KEY)
    return RunSummary(
        run=run.id,
        job=spec.name,
        spec=spec.model_dump(mode="json"),
        record=run.record(),
        history=run.history(),
        metrics=run.metrics() or {},
        dataset=run.dataset() or {},
        predictions=Predictions.from_parquet(predicted, f"{run.store.address}/{key}") if predicted else None,
        samples=SampleImages.from_npz(samples, f"{run.store.address}/{sample_images.KEY}") if samples else None,
        embeddings=_arrays(run),
    )


def _read(run: Run, key: str) -> bytes | None:
    try:
        return run.store.read(key)
    except MissingObjectError:
        return None


def _arrays(run: Run) -> Arrays:
    data = _read(run, predictions.EMBEDDINGS)
    return {} if data is None else unpack_arrays(data, f"{run.store.address}/{predictions.EMBEDDINGS}")
