"""A fine-tuned detector as an ONNX file, as ultralytics exports one, checked against torch on real images.

"images", float32 [batch, 3, H, W], RGB between 0 and 1, letterboxed to the run's data.size -> "output0", float32
[batch, 4 + K, anchors], for any batch: x and y of the centre, width and height in pixels, and the confidences of the
classes. The metadata have ultralytics' keys, so that its own tools and our Detector read the file.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from visionjobs import __version__
from visionjobs.box_scenes import KEY, BoxScenes
from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.coco_dataset import decode_rgb, open_boxes
from visionjobs.data.pack import sha256_of
from visionjobs.errors import MissingObjectError, UserError, VisionjobsError
from visionjobs.inference.detector import letterbox
from visionjobs.inference.export import Export, write_onnx
from visionjobs.inference.export_check import INPUT, Format, Images, quiet
from visionjobs.models.trained import read_weights
from visionjobs.models.yolo_weights import DetectionState, build_detector, load_detection_state
from visionjobs.runs import Run
from visionjobs.spec import JobSpec
from visionjobs.storage import OnBytes, Store, explain_os_error

if TYPE_CHECKING:
    from ultralytics.nn.tasks import DetectionModel

OUTPUT = "output0"

CHECKED = 16
"""Images that a file is checked on, fewer where the run's report shows fewer."""

TOLERANCE = 1e-4
"""Of confidences; of boxes it is this share of the images' longer side. With a yolov8n at 160 pixels onnxruntime
differed from torch by 1e-7 and 1e-6."""


@dataclass(frozen=True)
class BoxCheck:
    """How far the file's answers are from torch's. pixels: the largest difference of a coordinate, of at most
    `allowed` pixels; confidence: the largest one of a confidence, of at most TOLERANCE."""

    images: int
    pixels: float
    allowed: float
    confidence: float


class _Exported(nn.Module):
    """The model in the form in which ultralytics exports it: only the decoded boxes come out."""

    def __init__(self, model: DetectionModel) -> None:
        super().__init__()
        self.model = model.fuse(verbose=False)
        head = self.model.model[-1]
        head.export, head.dynamic, head.format = True, True, "onnx"

    def forward(self, images: Tensor) -> Tensor:
        boxes: Tensor = self.model(images)
        return boxes


def check_exportable(run: Run, spec: JobSpec, kind: Format) -> None:
    """Raises UserError for another format than onnx, and where the run has trained nothing."""
    if kind != "onnx":
        raise UserError(f"--format {kind}: a detector is exported as onnx")
    if not spec.train.epochs:
        raise UserError(
            f"run {run.id} has trained nothing (train.epochs: 0): its weights are those that it was given, "
            f"{spec.model.weights}, and there is nothing to export"
        )


def export_detector(run: Run, spec: JobSpec, images: Images, store: Store, key: str) -> Export[BoxCheck]:
    """Export the run's own weights, check them on `images` (see `detection_images`), and only then put the file into
    `store` under `key`.

    Raises UserError and FinalError as `read_weights` does; VisionjobsError where the file does not give torch's boxes;
    StorageError where it cannot be written.
    """
    data, address = read_weights(run, spec)
    with tempfile.TemporaryDirectory(prefix="visionjobs-export-") as temporary:
        weights, path = Path(temporary, f"{spec.name}.pth"), Path(temporary, "model.onnx")
        try:
            weights.write_bytes(data)
            state = load_detection_state(weights)
            write_detector(build_detector(state, address), state, run, spec, path)
        except OSError as error:
            raise explain_os_error(error, f"{temporary} (TMPDIR names another folder)") from error
        check = check_detector(build_detector(state, address), path, images)
        store.upload({key: path})
        return Export(f"{store.address}/{key}", path.stat().st_size, sha256_of(path), check)


def write_detector(model: DetectionModel, state: DetectionState, run: Run, spec: JobSpec, path: Path) -> None:
    """Export to `path`. The model is changed: see _Exported."""
    height, width = spec.data.size
    stride = int(model.stride.max())
    properties = {
        "names": repr(dict(enumerate(state.names))),
        "stride": str(stride),
        "imgsz": repr([height, width]),
        "task": "detect",
        "batch": "1",
        "channels": "3",
        "run": run.id,
        "job": spec.name,
        "visionjobs": __version__,
    }
    example = torch.rand(2, 3, height, width)  # of a batch of 1 the exporter would make a constant
    with quiet(), torch.no_grad():
        write_onnx(_Exported(model).eval(), example, path, properties, OUTPUT)


def check_detector(model: DetectionModel, path: Path, images: Images) -> BoxCheck:
    """Compare the file's raw answers with the model's, image by image and all at once. images: uint8 [n, H, W, 3].

    Raises VisionjobsError where they differ by more than the tolerance, or are not finite.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(inputs))[0].numpy()
    allowed = TOLERANCE * max(images.shape[1:3])
    pixels = confidence = 0.0
    for n in (1, len(images)):
        found = session.run([OUTPUT], {INPUT: inputs[:n]})[0]
        if found.shape != wanted[:n].shape:
            raise VisionjobsError(f"the file gives {list(found.shape)} instead of {list(wanted[:n].shape)}; not kept")
        difference = np.abs(found - wanted[:n])
        pixels = max(pixels, float(difference[:, :4].max()))
        confidence = max(confidence, float(difference[:, 4:].max()))
    if not (pixels <= allowed and confidence <= TOLERANCE):
        raise VisionjobsError(
            f"the file's boxes differ from torch's by up to {pixels:.1e} pixels ({allowed:.1e} are allowed), its "
            f"confidences by {confidence:.1e} ({TOLERANCE:.1e}); it was not kept"
        )
    return BoxCheck(len(images), pixels, allowed, confidence)


def detection_images(
    run: Run, spec: JobSpec, root: Store, cache: Path, on_bytes: OnBytes | None = None
) -> tuple[Images, str]:
    """Up to CHECKED images, uint8 [n, H, W, 3], letterboxed to the run's data.size, n at least 2, and where they are
    from: those that the run keeps for its report, else of its dataset. Raises UserError where there are neither."""
    source = f"{run.store.address}/{KEY}"
    images = list(_kept(run, source))
    if not images:
        try:
            ref = find_dataset(root, spec.data.name, spec.data.version)
        except UserError as error:
            raise UserError(
                f"an export is checked on real images, and there are none: not in {source}, and the dataset is not "
                f"there. {error}"
            ) from error
        split = open_boxes(fetch(ref, cache, on_bytes), ref.manifest.measured_split)
        wanted = np.unique(np.linspace(0, len(split) - 1, min(CHECKED, len(split))).astype(np.int64)).tolist()
        images, source = [decode_rgb(split.encoded(at), split.truth.paths[at]) for at in wanted], ref.address
    several = images if len(images) > 1 else images * 2
    stacked = np.empty((len(several), *spec.data.size, 3), np.uint8)
    letterbox(several, stacked, threads=1)
    return stacked, source


def _kept(run: Run, source: str) -> Iterator[npt.NDArray[np.uint8]]:
    with contextlib.suppress(MissingObjectError):
        scenes: BoxScenes = BoxScenes.from_npz(run.store.read(KEY), source)
        for number in range(min(CHECKED, len(scenes))):
            yield np.asarray(Image.open(io.BytesIO(scenes.jpeg(number))).convert("RGB"))
