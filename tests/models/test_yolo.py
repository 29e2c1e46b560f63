"""YOLOv8 from its name, from other weights, and as a run's file."""

from __future__ import annotations

import io
from collections import OrderedDict

import pytest
import torch

from visionjobs.errors import UserError
from visionjobs.models.yolo import YOLO, build_yolo, load_yolo, weights_file, yolo_state

PARAMETERS = {"yolov8n": 3.157e6, "yolov8s": 11.167e6}
"""With COCO's 80 classes, rounded, as ultralytics publishes them (docs: models/yolov8: 3.2M, 11.2M)."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_size_and_outputs(name: str) -> None:
    model = build_yolo(name, 80)
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(PARAMETERS[name], rel=1e-3)
    with torch.inference_mode():
        boxes = model.eval()(torch.zeros(2, 3, 64, 96))[0]
    assert boxes.shape == (2, 4 + 80, 8 * 12 + 4 * 6 + 2 * 3)


def test_the_seed_decides() -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build_yolo("yolov8n", 3).state_dict()["model.0.conv.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_unknown_name() -> None:
    with pytest.raises(UserError, match=r'no detector "yolov8z"; expected one of .*Did you mean "yolov8'):
        build_yolo("yolov8z", 3)
    assert len(YOLO) == 5


def test_weights_of_as_many_classes_are_taken_whole() -> None:
    source, model = build_yolo("yolov8n", 4), build_yolo("yolov8n", 4)
    assert load_yolo(model, source.state_dict(), "other.pt") == []
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())


def test_weights_of_other_classes_leave_out_what_ultralytics_leaves_out() -> None:
    from ultralytics.utils.torch_utils import intersect_dicts

    source, model = build_yolo("yolov8n", 80), build_yolo("yolov8n", 4)
    own = {key: value.clone() for key, value in model.state_dict().items()}
    taken = intersect_dicts(source.state_dict(), model.state_dict())
    left_out = load_yolo(model, source.state_dict(), "other.pt")
    assert left_out
    assert set(left_out) == own.keys() - taken.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, own[key] if key in left_out else source.state_dict()[key]), key


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(UserError, match=r"other\.pt: model\.weights do not fit DetectionModel"):
        load_yolo(build_yolo("yolov8n", 4), build_yolo("yolov8s", 4).state_dict(), "other.pt")
    state = dict(build_yolo("yolov8n", 4).state_dict())
    del state["model.0.conv.weight"]
    with pytest.raises(UserError, match=r"missing: model\.0\.conv\.weight"):
        load_yolo(build_yolo("yolov8n", 4), state, "other.pt")


def test_file_of_a_run_has_the_weights_and_nothing_else() -> None:
    model = build_yolo("yolov8n", 2)
    checkpoint = io.BytesIO()
    torch.save(yolo_state(model, ["a", "b"]) | {"optimizer": {"state": {}}, "raw": OrderedDict()}, checkpoint)
    state = torch.load(io.BytesIO(weights_file(checkpoint.getvalue())), weights_only=True)
    assert state.keys() == {"model", "yaml", "names"}
    assert (state["names"], state["yaml"]["nc"]) == (["a", "b"], 2)
    assert all(torch.equal(state["model"][key], value) for key, value in model.state_dict().items())
