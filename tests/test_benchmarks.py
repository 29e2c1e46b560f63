"""Each benchmark runs at toy size and leaves its files; what becomes of the figures. Nothing here is about speed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from benchmarks import detection_evaluation
from benchmarks.__main__ import app
from benchmarks.measure import Comparison, Goal, alternate
from benchmarks.photos import draw_photos, enlarge, first_of_each_class
from benchmarks.results import add_to_summary, markdown, read_rows, update_readme, write_rows
from visionjobs.errors import UserError

SUMMARY_COLUMNS = [
    "benchmark", "compared", "unit", "rounds", "ours_median", "other_median", "ratio_median", "ratio_min", "ratio_max",
    "goal", "met", "note", "machine", "date",
]  # fmt: skip
MACHINE = {"cpu": "CPU", "cpus": 2, "memory_gib": 24.0, "gpu": "none", "torch": "2"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test data of our own: 80 drawn photos, and boxes of 20 images, where the real ones are looked for."""
    folder = tmp_path_factory.mktemp("data")
    draw_photos(folder / "animals10" / "train", 80)
    annotations = [
        {
            "id": 1 + n,
            "image_id": n % 20,
            "category_id": n % 3,
            "bbox": [5 * (n % 40), 100, 20 + n, 30],
            "area": 600 + n,
        }
        for n in range(60)
    ]
    boxes = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(20)],
        "categories": [{"id": n, "name": f"class {n}"} for n in range(3)],
        "annotations": annotations,
    }
    (folder / detection_evaluation.FILE).parent.mkdir()
    (folder / detection_evaluation.FILE).write_text(json.dumps(boxes))
    return folder


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.s3
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("letter", "name", "sides", "groups", "comparisons", "columns"),
    [
        ("a", "loop_speed", {"loop", "plain"}, 1, 1,
         "model precision size batch steps device threads round side seconds images_per_second"),
        ("b", "input_speed", {"resident", "prefetched", "imagefolder"}, 2, 4,
         "photos count device round side epochs images seconds images_per_second import_seconds"),
        ("c", "checkpoint_cost", {"with", "without"}, 1, 1,
         "images size batch steps precision device threads round side seconds held_seconds stored_after_seconds"),
        ("d", "import_scale", {"60", "120"}, 1, 2,
         "round side images seconds ms_per_image peak_mib peak_anonymous_mib"),
        ("e", "colour_decoding", {"table", "dictionary"}, 1, 1,
         "round side labels seconds ms_per_label labels_per_second"),
        ("f", "detection_evaluation", {"visionjobs", "pycocotools"}, 1, 2,
         "detections floor round side seconds peak_mib ap"),
    ],
)  # fmt: skip
def test_runs_at_toy_size(
    photos: Path, tmp_path: Path, monkeypatch, letter: str, name: str, sides: set[str], groups: int, comparisons: int,
    columns: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("VISIONJOBS_TEST_DATA", str(photos))
    result = CliRunner().invoke(app, ["--only", letter, "--quick", "--rounds", "1", "--to", str(tmp_path)])
    assert result.exception is None, result.output
    rows = read(tmp_path / f"{name}.csv")
    assert list(rows[0]) == columns.split()
    assert {row["side"] for row in rows} == sides
    assert len(rows) == groups * len(sides)
    assert all(float(row["seconds"]) > 0 for row in rows)
    summary = read(tmp_path / "summary.csv")
    assert list(summary[0]) == SUMMARY_COLUMNS
    assert len(summary) == comparisons
    for row in summary:
        ratio = float(row["ours_median"]) / float(row["other_median"])
        assert float(row["ratio_median"]) == pytest.approx(ratio, rel=0.01)
        assert row["compared"] in result.stdout
    assert "host" not in read(tmp_path / "machine.csv")[0]


@pytest.mark.parametrize(("letter", "name"), [("b", "input_speed"), ("f", "detection_evaluation")])
def test_without_the_data_a_benchmark_is_skipped_and_says_so(
    tmp_path: Path, monkeypatch, letter: str, name: str
) -> None:
    monkeypatch.setenv("VISIONJOBS_TEST_DATA", str(tmp_path / "none"))
    result = CliRunner().invoke(app, ["--only", letter, "--quick", "--to", str(tmp_path)])
    assert result.exit_code == 0
    assert not (tmp_path / f"{name}.csv").exists()
    assert not (tmp_path / "summary.csv").exists()


def test_unknown_benchmark_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--only", "a,x", "--to", str(tmp_path / "out")])
    assert isinstance(result.exception, UserError)
    assert "no benchmark x; expected some of a,b,c,d,e,f,g" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_sides_alternate_and_the_order_turns_round() -> None:
    calls = []
    sides = {name: lambda name=name: calls.append(name) or {"seconds": float(len(calls))} for name in ("x", "y")}
    rows = alternate(sides, 3, lambda *_: None, what="test")
    assert calls == ["y", "x", "x", "y", "y", "x", "x", "y"], "a warm-up, then three rounds"
    assert [(row["round"], row["side"], row["seconds"]) for row in rows] == [
        (1, "x", 3), (1, "y", 4), (2, "y", 5), (2, "x", 6), (3, "x", 7), (3, "y", 8),
    ]  # fmt: skip


def test_without_a_warm_up_every_call_counts() -> None:
    assert len(alternate({"x": dict}, 2, lambda *_: None, what="test", warm_up=False)) == 2


@pytest.mark.parametrize(
    ("goal", "ratio", "met"),
    [
        (Goal(">=", 0.98), 0.98, True),
        (Goal(">=", 0.98), 0.9799, False),
        (Goal("<=", 1.02), 1.02, True),
        (Goal("<=", 1.02), 1.0201, False),
    ],
)
def test_goals(goal: Goal, ratio: float, met: bool) -> None:
    assert goal.is_met(ratio) is met


def comparison(ours: list[float], what: str = "loop / plain") -> Comparison:
    return Comparison(what, "images/s", ours, [10.0, 20.0, 10.0], Goal(">=", 0.98))


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    row = comparison([11.0, 18.0, 8.0]).to_row()  # 1.1, .9, .8; of the medians it would be 1.1
    assert (row["ratio_median"], row["ratio_min"], row["ratio_max"]) == (0.9, 0.8, 1.1)
    assert (row["ours_median"], row["other_median"], row["met"], row["rounds"]) == (11.0, 10.0, "no", 3)


def test_a_ratio_that_only_rounding_lifts_is_not_met() -> None:
    assert comparison([9.7999999, 19.5999998, 9.7999999]).to_row()["met"] == "no"


def test_summary_keeps_the_other_benchmarks_lines(tmp_path: Path) -> None:
    add_to_summary(tmp_path, "b", [comparison([1, 1, 1], "old b")], MACHINE)
    add_to_summary(tmp_path, "a", [comparison([1, 1, 1], "a1"), comparison([1, 1, 1], "a2")], MACHINE)
    rows = add_to_summary(tmp_path, "b", [comparison([1, 1, 1], "new b")], MACHINE)
    assert [row["compared"] for row in rows] == ["a1", "a2", "new b"]
    assert rows == read_rows(tmp_path / "summary.csv")
    assert not list(tmp_path.glob("*.tmp"))


def test_readme_gets_the_table_between_its_marks(tmp_path: Path) -> None:
    rows = add_to_summary(tmp_path, "a", [comparison([10, 20, 10])], MACHINE)
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    assert update_readme(readme, markdown(rows))
    once = readme.read_text()
    assert "| loop / plain | 10.0 images/s | 10.0 images/s | 1.000 | 1.000 to 1.000 | >= 0.98 | yes |" in once
    assert "old" not in once
    assert once.startswith("before\n<!-- bench -->\n")
    assert once.endswith("<!-- /bench -->\nafter\n")
    assert update_readme(readme, markdown(rows))
    assert readme.read_text() == once


def test_readme_without_marks_stays_as_it_is(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("text\n")
    assert not update_readme(readme, "table")
    assert readme.read_text() == "text\n"


def test_fractions_are_rounded_in_files(tmp_path: Path) -> None:
    write_rows(tmp_path / "x.csv", [{"a": 1 / 3, "b": 2, "c": "text, with a comma"}])
    assert read(tmp_path / "x.csv") == [{"a": "0.333333", "b": "2", "c": "text, with a comma"}]


def test_drawn_photos_are_the_same_each_time_and_no_two_equal(tmp_path: Path) -> None:
    first, second = (draw_photos(tmp_path / name, 30) for name in ("first", "second"))
    files = sorted(path.relative_to(first) for path in first.rglob("*.jpg"))
    contents = [(first / file).read_bytes() for file in files]
    assert len({file.parent for file in files}) == 10
    assert len(set(contents)) == 30
    assert contents == [(second / file).read_bytes() for file in files]


def test_enlarged_photos_keep_their_shape(tmp_path: Path) -> None:
    few = first_of_each_class(draw_photos(tmp_path / "drawn", 30), tmp_path / "few", 20)
    large = enlarge(few, tmp_path / "large", 100_000)
    paths = list(large.glob("*/*.jpg"))
    assert len(paths) == 20
    for path in paths:
        with Image.open(path) as image:
            assert image.width * image.height == pytest.approx(100_000, rel=0.01)
            assert image.width / image.height == pytest.approx(200 / 150, rel=0.01)
