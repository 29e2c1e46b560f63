"""What a classifier said of each sample: `predictions/<split>.parquet` of a run, in the order of the split."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from visionjobs.errors import UserError

KEY = "predictions/{split}.parquet"
"""Where a run keeps the predictions of a split, relative to its folder."""

EMBEDDINGS = "predictions/embeddings.npz"
"""Where a run keeps its features in two and three dimensions (metrics/features.py)."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """paths: of the source files, relative to the source; labels: int64 [n]; logits: float32 [n, K], finite or not;
    classes: K names, in the order of the logits; split: of the dataset, or "all"."""

    split: str
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: Indices
    logits: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def log_probabilities(self) -> npt.NDArray[np.float64]:
        """log-softmax of the logits, float64 [n, K]."""
        shifted = self.logits.astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True, initial=-np.inf)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """softmax of the logits, float64 [n, K]."""
        return np.exp(self.log_probabilities)

    @cached_property
    def predicted(self) -> Indices:
        """The most probable class, int64 [n]; of equal logits the first."""
        return np.asarray(self.logits.argmax(axis=1), np.int64)

    @cached_property
    def confidence(self) -> npt.NDArray[np.float64]:
        """Probability of the predicted class, float64 [n]."""
        return np.asarray(self.probabilities.max(axis=1, initial=0.0))

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """bool [n]."""
        return np.asarray(self.predicted == self.labels)

    @cached_property
    def nll(self) -> npt.NDArray[np.float64]:
        """-ln of the probability given to the true class, in nats, float64 [n]."""
        return -self.log_probabilities[np.arange(len(self)), self.labels]

    def to_parquet(self) -> bytes:
        """A row a sample: path, label and predicted (class names), confidence, logits; the classes in the metadata."""
        names = np.array(self.classes, dtype=object)
        table = pa.table(
            {
                "path": pa.array(self.paths, pa.string()),
                "label": pa.array(names[self.labels], pa.string()),
                "predicted": pa.array(names[self.predicted], pa.string()),
                "confidence": pa.array(self.confidence, pa.float64()),
                "logits": pa.FixedSizeListArray.from_arrays(
                    pa.array(self.logits.reshape(-1), pa.float32()), len(self.classes)
                ),
            }
        ).replace_schema_metadata({"split": self.split, "classes": json.dumps(self.classes)})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        return buffer.getvalue()

    @classmethod
    def from_parquet(cls, data: bytes, source: str) -> Predictions:
        """What `to_parquet` wrote. Raises UserError naming `source` for anything else."""
        try:
            table = pq.read_table(
                io.BytesIO(data), use_threads=False
            )  # its threads would abort a process that ends soon
            metadata = table.schema.metadata or {}
            classes = tuple(json.loads(metadata[b"classes"]))
            number = {name: index for index, name in enumerate(classes)}
            logits = table["logits"].combine_chunks()
            return cls(
                split=metadata[b"split"].decode(),
                classes=classes,
                paths=tuple(table["path"].to_pylist()),
                labels=np.array([number[name] for name in table["label"].to_pylist()], np.int64),
                logits=logits.flatten().to_numpy(zero_copy_only=False).reshape(-1, len(classes)).astype(np.float32),
            )
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{source} holds no predictions, or is damaged ({error}): evaluate the run again"
            ) from error
