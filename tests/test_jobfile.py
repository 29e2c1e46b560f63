"""Job files: every mistake is one clear message, and no text at all is a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from visionjobs.errors import UserError
from visionjobs.jobfile import dump_spec, find_job, job_names, load_job, parse_job
from visionjobs.spec import JobSpec, differences, flatten, is_changeable

JOBS = Path(__file__).resolve().parent.parent / "jobs"
BASE = "task: classification\nmodel: {name: resnet18}\ndata: {name: wildlife}\n"


MASKS = "task: segmentation\nmodel: {name: segnet}\ndata: {name: camvid}\n"


def parse(text: str = "", *sets: str) -> JobSpec:
    return parse_job(BASE + text, "jobs/mine.yaml", "mine", sets)


def message(text: str, *sets: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_job(text, "jobs/mine.yaml", "mine", sets)
    return str(caught.value)


@pytest.mark.parametrize("name", job_names(JOBS))
def test_every_job_of_the_project_loads(name: str) -> None:
    spec = load_job(JOBS / f"{name}.yaml")
    assert spec.name == name
    main = {"classification": "accuracy", "segmentation": "miou", "detection": "floors.0.25.coco.AP"}
    assert name == "yolo_finetune" or spec.published[main[spec.task]].source


def test_there_are_jobs() -> None:
    assert {"convnet", "resnet", "resnet_aug", "segnet", "deeplab"} <= set(job_names(JOBS))


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("trian: {epochs: 3}", "trian", "train"),
        ("train: {epoch: 3}", "train.epoch", "epochs"),
        ("train: {checkpoint: {evry: 3}}", "train.checkpoint.evry", "every"),
        ("resources: {worker: 2}", "resources.worker", "workers"),
        ("limits: {hour: 2}", "limits.hour", "hours"),
        ("published: {accuracy: {value: 1, source: a, sorce: b}}", "published.accuracy.sorce", "source"),
        ("published: {train: {value: 1, source: a, valeu: b}}", "published.train.valeu", "value"),
        ("published: {float: {value: 1, source: a, valeu: b}}", "published.float.valeu", "value"),
    ],
)
def test_unknown_key_names_the_nearest(text: str, key: str, nearest: str) -> None:
    told = message(BASE + text)
    assert told.startswith(f"jobs/mine.yaml: {key}: there is no such key")
    assert told.endswith(f'Did you mean "{nearest}"?')


def test_unknown_key_lists_the_valid_ones() -> None:
    told = message(BASE + "resources: {zzz: 1}")
    assert "in resources; expected one of cpus, gpus, memory, workers, workers_per_pod." in told


@pytest.mark.parametrize(
    ("text", "key", "expected", "found"),
    [
        ("train: 5", "train", "keys such as batch:, checkpoint:, class_weights:", "a number 5"),
        ("train: [1]", "train", "keys such as", "a list [1]"),
        ("train: {epochs: ten}", "train.epochs", "a whole number", "text 'ten'"),
        ("train: {epochs: '10'}", "train.epochs", "a whole number", "text '10'"),
        ("train: {epochs: 2.5}", "train.epochs", "a whole number", "a number 2.5"),
        ("train: {epochs: true}", "train.epochs", "a whole number", "true or false True"),
        ("train: {epochs: }", "train.epochs", "a whole number", "nothing"),
        ("train: {epochs: -1}", "train.epochs", "a number greater than or equal to 0", "a number -1"),
        ("train: {lr: 0}", "train.lr", "a number greater than 0", "a number 0"),
        ("train: {lr: 11}", "train.lr", "a number less than or equal to 10", "a number 11"),
        ("train: {lr: .inf}", "train.lr", "a finite number", "a number inf"),
        ("train: {lr: .nan}", "train.lr", "a finite number", "a number nan"),
        ("train: {lr: fast}", "train.lr", "a number", "text 'fast'"),
        ("train: {label_smoothing: 1}", "train.label_smoothing", "a number less than 1", "a number 1"),
        ("train: {compile: 1}", "train.compile", "true or false", "a number 1"),
        ("train: {optimizer: adm}", "train.optimizer", "'adam'", "text 'adm'"),
        ("train: {precision: [fp32]}", "train.precision", "'auto', 'fp32', 'bf16' or 'fp16'", "a list"),
        ("train: {schedule: linear}", "train.schedule", "'constant', 'polynomial' or 'cosine'", "text 'linear'"),
        ("train: {class_weights: [1]}", "train.class_weights", "'none' or 'median_frequency'", "a list [1]"),
        ("train: {ignore: Void}", "train.ignore", "a list", "text 'Void'"),
        ("train: {freeze: decoder}", "train.freeze", "'none', 'backbone' or 'encoder'", "text 'decoder'"),
        ("train: {checkpoint: {unit: epoch}}", "train.checkpoint.unit", "'epochs' or 'steps'", "text 'epoch'"),
        ("resources: {gpus: 2}", "resources.gpus", "'auto' or a number less than or equal to 1", "a number 2"),
        ("resources: {gpus: all}", "resources.gpus", "'auto' or a whole number", "text 'all'"),
        ("resources: {cpus: 0}", "resources.cpus", "'auto' or a number greater than or equal to 1", "a number 0"),
        ("resources: {memory: 4GB}", "resources.memory", "an amount such as 512Mi or 4Gi", "text '4GB'"),
        ("resources: {memory: 4}", "resources.memory", "text", "a number 4. Put it in quotes."),
        ("limits: {hours: 0}", "limits.hours", "a number greater than 0", "a number 0"),
        ("wandb: {mode: on}", "wandb.mode", "'auto', 'online', 'offline' or 'off'", "true or false True"),
        ("wandb: {project: a/b}", "wandb.project", "at most 128 characters, none of them / ", "text 'a/b'"),
        ("wandb: {project: ' a'}", "wandb.project", "at most 128 characters", "text ' a'"),
        ("wandb: {project: ''}", "wandb.project", "at most 128 characters", "text ''"),
        ("published: {accuracy: 0.5}", "published.accuracy", "keys such as source:, value:", "a number 0.5"),
        ("published: {a: {value: 1, source: ''}}", "published.a.source", "text that is not empty", "text ''"),
        ("published: 3", "published", "keys such as", "a number 3"),
        ("name: My-Job", "name", "a letter, then at most 24", "text 'My-Job'"),
    ],
)
def test_wrong_value_says_what_was_expected_and_found(text: str, key: str, expected: str, found: str) -> None:
    told = message(BASE + text)
    assert told.startswith(f"jobs/mine.yaml: {key}: expected {expected}")
    assert f"; found {found}" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("data", "key", "expected"),
    [
        ("{name: wildlife, size: 224}", "data.size", "a list"),
        ("{name: wildlife, size: [224]}", "data.size", "at least 2 items"),
        ("{name: wildlife, size: [1, 2, 3]}", "data.size", "at most 2 items"),
        ("{name: wildlife, size: [224, x]}", "data.size.1", "a whole number"),
        ("{name: wildlife, size: [8, 224]}", "data.size.0", "a number greater than or equal to 16"),
        ("{name: Wild Life}", "data.name", "at most 63 lower-case letters, digits, - and _"),
        ("{name: wildlife, version: 12345}", "data.version", "text"),
        ("{name: wildlife, version: 12e45}", "data.version", "text"),
        ("{name: wildlife, augment: flip}", "data.augment", "'none', 'wildlife', 'camvid' or 'yolo'"),
        ("{name: wildlife, copies: -1}", "data.copies", "a number greater than or equal to 0"),
        ("{name: wildlife, resident: 'yes'}", "data.resident", "'auto', 'always' or 'never'"),
    ],
)
def test_wrong_value_in_data(data: str, key: str, expected: str) -> None:
    told = message(f"task: classification\nmodel: {{name: convnet}}\ndata: {data}")
    assert f"jobs/mine.yaml: {key}: expected {expected}" in told


def test_every_problem_has_a_line_of_its_own() -> None:
    told = message("task: classify\nmodel: {}\ndata: {name: wildlife}\ntrain: {lr: -1, epoch: 1}")
    assert [line.split(": ")[1] for line in told.splitlines()] == ["task", "model.name", "train.lr", "train.epoch"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("model: {name: convnet}\ndata: {name: wildlife}", "task"),
        ("task: classification\ndata: {name: wildlife}", "model"),
        ("task: classification\nmodel:\ndata: {name: wildlife}", "model.name"),
        ("task: classification\nmodel: {name: convnet}", "data"),
        ("task: classification\nmodel: {name: convnet}\ndata: {size: [32, 32]}", "data.name"),
    ],
)
def test_missing_key(text: str, key: str) -> None:
    assert message(text) == f"jobs/mine.yaml: {key}: this key is needed, and missing."


@pytest.mark.parametrize("text", ["", "- task\n- model\n", "classification", "3", "true"])
def test_file_that_is_no_mapping(text: str) -> None:
    assert "jobs/mine.yaml: expected keys such as task:, model: and data:, found " in message(text)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["train.batch=33", "resources.workers=2"], "train.batch: 33 is not a multiple of resources.workers = 2"),
        (["resources.workers=3"], "train.batch: 32 is not a multiple of resources.workers = 3"),
        (["train.batch=1"], "train.batch: 1 leaves 1 sample to each of 1 workers"),
        (["train.batch=4", "resources.workers=4"], "train.batch: 4 leaves 1 sample to each of 4 workers"),
        (["train.precision=fp16", "resources.gpus=0"], "train.precision: fp16 needs a GPU"),
        (["data.copies=3"], "data.copies: 3 augmented copies need data.augment"),
        (["data.augment=wildlife"], 'data.augment: "wildlife" has no effect while data.copies is 0'),
        (["train.freeze=backbone"], 'train.freeze: "backbone" would keep random weights'),
        ([f"model.sha256={'0' * 63}a"], "model.sha256: there is no file to check"),
        (["data.augment=camvid"], 'data.augment: "camvid" is for segmentation; expected none or wildlife'),
        (["data.augment=camvid", "data.copies=2"], 'data.augment: "camvid" is for segmentation'),
        (["train.class_weights=median_frequency"], 'train.class_weights: "median_frequency" is for segmentation'),
        (["train.ignore=[Void]"], "train.ignore: is for segmentation"),
    ],
)
def test_impossible_combination_in_the_file_or_by_set(sets: list[str], told: str) -> None:
    check_impossible(BASE, sets, told)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["data.augment=wildlife"], 'data.augment: "wildlife" moves images and not their masks; expected none or camv'),
        (["data.augment=wildlife", "data.copies=2"], 'data.augment: "wildlife" moves images and not their masks'),
        (["data.copies=2"], "data.copies: is for classification"),
        (["data.augment=camvid", "data.copies=2"], "data.copies: is for classification"),
        (["model.dropout=0.5"], "model.dropout: 0.5 has no place in a segmentation model; expected 0"),
        (["train.freeze=encoder"], 'train.freeze: "encoder" would keep random weights'),
        (["train.batch=2", "resources.workers=2"], "train.batch: 2 leaves 1 sample to each of 2 workers"),
    ],
)
def test_impossible_combination_for_masks(sets: list[str], told: str) -> None:
    check_impossible(MASKS, sets, told)


def check_impossible(base: str, sets: list[str], told: str) -> None:
    """The same message from the file and from --set."""
    tree = yaml.safe_load(base)
    for item in sets:
        key, value = item.split("=")
        section, name = key.split(".")
        tree.setdefault(section, {})[name] = yaml.safe_load(value)
    assert told in message(yaml.safe_dump(tree))
    assert message(yaml.safe_dump(tree)).startswith("jobs/mine.yaml: ")
    assert told in message(base, *sets)
    assert "--set " in message(base, *sets)


@pytest.mark.parametrize(
    "sets",
    [
        ["train.precision=bf16", "resources.gpus=0"],
        ["train.batch=4", "resources.workers=2"],
        ["data.augment=wildlife", "data.copies=1"],
        ["train.freeze=backbone", "model.weights=IMAGENET1K_V1"],
        ["model.weights=w.pth", f"model.sha256={'a' * 64}"],
    ],
)
def test_possible_combination(sets: list[str]) -> None:
    parse("", *sets)


@pytest.mark.parametrize(
    "sets",
    [
        [],
        ["data.augment=camvid"],
        ["train.class_weights=median_frequency", "train.ignore=[Void, Sky]"],
        ["train.schedule=polynomial", "train.label_smoothing=0.1"],
        ["train.freeze=encoder", "model.weights=IMAGENET1K_V1"],
    ],
)
def test_possible_combination_for_masks(sets: list[str]) -> None:
    parse_job(MASKS, "jobs/mine.yaml", "mine", sets)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: [1, 2\n", 5, "expected ',' or ']'"),
        ("train:\n  epochs: 3\n   lr: 1\n", 6, "mapping values are not allowed here"),
        ("\tx: 1\n", 4, "cannot start any token"),
        ("task: classification\n", 4, 'the key "task" is given twice'),
        ("train: {lr: 1, lr: 2}\n", 4, 'the key "lr" is given twice'),
        ("1: x\n", 4, "the key 1 is not text"),
        ("? [a, b]\n: x\n", 4, "is not text"),
        ("x: &a [*a, *b]\n", 4, "undefined alias"),
        ("x: !!python/object/apply:os.getcwd []\n", 4, "could not determine a constructor"),
    ],
)
def test_bad_yaml_names_the_line(text: str, line: int, problem: str) -> None:
    told = message(BASE + text)
    assert told.startswith(f"jobs/mine.yaml: line {line}, column ")
    assert problem in told
    assert "\n" not in told


@pytest.mark.parametrize(
    "text", ['x: !!int ""', "x: !!bool maybe", "x: !!timestamp x", "x: 2026-13-01", "\0", "x: !!float ''", "[" * 5000]
)
def test_values_that_yaml_cannot_read(text: str) -> None:
    assert message(BASE + text).startswith("jobs/mine.yaml: ")


@pytest.mark.parametrize("text", [r'"\e[31m": 1', r'"\ud800": 1', r'name: "\e[31m\ud800"', r'train: {"\0": 1}'])
def test_message_can_be_printed_on_any_terminal(text: str) -> None:
    told = message(BASE + text)
    assert told.encode("utf-8")
    assert told.replace("\n", "").isprintable()


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "1.0e-3", ".1e-2", "+1e-3", "0.001", "1.e-3", "10e-4"])
def test_numbers_with_exponent_are_numbers(number: str) -> None:
    assert parse(f"train: {{lr: {number}}}").train.lr == 0.001
    assert parse("", f"train.lr={number}").train.lr == 0.001


def test_a_whole_number_does_for_a_float() -> None:
    assert parse("train: {lr: 1}").train.lr == 1.0


@pytest.mark.parametrize("text", ["train:", "train: {checkpoint: }", "published:", "resources:\nlimits:", "{}"])
def test_an_empty_section_is_all_defaults(text: str) -> None:
    assert parse(text if text != "{}" else "") == parse()


def test_off_is_a_word_where_a_word_is_meant() -> None:
    """YAML reads it as false."""
    assert parse("wandb: {mode: off}").wandb.mode == "off"
    assert parse("", "wandb.mode=off").wandb.mode == "off"


@pytest.mark.parametrize("project", ["a", "a b", "a" * 128])
def test_names_of_wandb_projects(project: str) -> None:
    assert parse(f"wandb: {{project: {project}}}").wandb.project == project


def test_yaml_merge_keys_work() -> None:
    spec = parse("train: {<<: &shared {epochs: 3, lr: 0.1}, lr: 0.2}")
    assert (spec.train.epochs, spec.train.lr) == (3, 0.2)


def test_name_is_the_files_unless_given() -> None:
    assert parse().name == "mine"
    assert parse("name: other").name == "other"


@pytest.mark.parametrize(
    ("item", "key", "value"),
    [
        ("train.epochs=3", "train.epochs", 3),
        (" train.epochs = 3", "train.epochs", 3),
        ("train.checkpoint.unit=steps", "train.checkpoint.unit", "steps"),
        ("data.size=[32, 48]", "data.size", [32, 48]),
        ("train.compile=true", "train.compile", True),
        ("resources.gpus=auto", "resources.gpus", "auto"),
        ("resources.gpus=1", "resources.gpus", 1),
        ("limits.hours=0.5", "limits.hours", 0.5),
        ("limits.hours=", "limits.hours", None),
        ("model.weights=s3://bucket/a=b.pth", "model.weights", "s3://bucket/a=b.pth"),
        ("train={epochs: 7}", "train.epochs", 7),
        ('data.version="12e45"', "data.version", "12e45"),
        ("published.f1.value=0.5", "published.f1.value", 0.5),
    ],
)
def test_set(item: str, key: str, value: Any) -> None:
    spec = parse("published: {f1: {value: 1, source: paper}}\nlimits: {hours: 3}", item)
    assert flatten(spec.model_dump())[key] == value


def test_sets_apply_in_order_and_leave_the_rest() -> None:
    spec = parse("train: {lr: 0.5}", "train.epochs=3", "train.epochs=4")
    assert (spec.train.epochs, spec.train.lr) == (4, 0.5)


@pytest.mark.parametrize("item", ["train.epochs", "", "=3", ".=3", "train.=3", ".epochs=3", "a..b=1"])
def test_set_of_another_form(item: str) -> None:
    assert message(BASE, item) == f'--set {item}: expected key=value, such as "--set train.epochs=3"'


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("train.epochs=ten", "--set train.epochs: expected a whole number; found text 'ten'."),
        ("train.epoch=3", "--set train.epoch: there is no such key in train"),
        ("train={epoch: 3}", "--set train: train.epoch: there is no such key in train"),
        ("trian.epochs=3", "--set trian.epochs: trian: there is no such key at the top"),
        ("train.epochs.x=3", "--set train.epochs.x: train.epochs: expected a whole number; found a mapping"),
        ("data.size=[224, x]", "--set data.size: data.size.1: expected a whole number"),
        ("train.epochs=[1", "--set train.epochs=[1: line 1, column 3 is not valid YAML"),
        ("task=", "--set task: expected 'classification', 'segmentation' or 'detection'; found nothing."),
        ("model=", "--set model: model.name: this key is needed, and missing."),
    ],
)
def test_mistake_in_a_set_names_it(item: str, told: str) -> None:
    assert message(BASE, item).startswith(told)


def test_mistake_in_the_file_beside_a_set_names_the_file() -> None:
    assert message(BASE + "train: {lr: x}", "train.epochs=3").startswith("jobs/mine.yaml: train.lr: ")


@pytest.mark.parametrize("name", job_names(JOBS))
def test_dump_and_parse_give_the_same_spec(name: str) -> None:
    spec = load_job(JOBS / f"{name}.yaml")
    assert parse_job(dump_spec(spec), "spec.yaml", "run") == spec


@pytest.mark.parametrize(
    "version", ["12e45678", "0123", "1_000", "null", "true", "2026-11-23", "1:20", "~", "=", "<<", "é"]
)
def test_dumped_text_stays_text(version: str) -> None:
    spec = parse("", f"data.version={yaml.safe_dump(version, default_style=chr(34))}")
    assert spec.data.version == version
    assert parse_job(dump_spec(spec), "spec.yaml", "run") == spec


def test_differences_are_by_key() -> None:
    old, new = parse("published: {a: {value: 1, source: x}}"), parse("", "train.lr=0.5", "data.size=[32, 32]")
    assert differences(old, new) == {
        "data.size": ([224, 224], [32, 32]),
        "published": (None, {}),
        "published.a.source": ("x", None),
        "published.a.value": (1.0, None),
        "train.lr": (0.001, 0.5),
    }
    assert differences(old, old) == {}


@pytest.mark.parametrize(
    ("key", "changeable"),
    [
        ("train.epochs", True),
        ("resources.workers", True),
        ("limits.hours", True),
        ("wandb.mode", True),
        ("train.lr", False),
        ("train.checkpoint.every", False),
        ("data.version", False),
        ("resources", False),
        ("train.epochs_extra", False),
    ],
)
def test_what_a_continued_run_may_change(key: str, changeable: bool) -> None:
    assert is_changeable(key) is changeable


def test_find_job_by_name_and_by_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(BASE)
    assert find_job("mine", tmp_path) == tmp_path / "mine.yaml"
    assert find_job(str(tmp_path / "mine.yaml"), JOBS) == tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    "job", ["convnett", "../mine", "sub/convnet", "", "\0", "x" * 5000, "x" * 5000 + ".yaml", "no.yaml"]
)
def test_unknown_job(job: str) -> None:
    with pytest.raises(UserError, match="There is no job"):
        find_job(job, JOBS)


def test_unknown_job_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(UserError, match=r'The jobs in .*/ are: convnet, .*Did you mean "convnet"\?'):
        find_job("convnett", JOBS)


def test_no_jobs_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There are no job files in"):
        find_job("convnet", tmp_path / "absent")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.yaml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.yaml: cannot be read"):
        load_job(path)


KEYS = sorted(
    {
        part
        for key in flatten(parse("published: {accuracy: {value: 1, source: x}}").model_dump())
        for part in key.split(".")
    }
)
WORDS = [
    "auto", "none", "wildlife", "camvid", "classification", "segmentation", "random", "backbone", "encoder", "bf16",
    "fp16", "steps", "cosine", "median_frequency", "8Gi", "convnet", "segnet",
]  # fmt: skip
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([*WORDS, *KEYS]),
    st.dates(),
    st.binary(max_size=5),
)
keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=8))
trees = st.dictionaries(
    keys,
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=8
    ),
    max_size=8,
)
paths = st.lists(st.sampled_from(KEYS) | st.text(max_size=4), min_size=1, max_size=4).map(".".join)
yaml_pieces = st.sampled_from(
    [*":-[]{},&*!|>'%@`#?~=\n \t\"", "\n  ", "<<", "!!int", "!!bool", "!!binary", "!!set", "\\u", "---"]
)
set_items = st.one_of(
    st.text(max_size=20),
    st.builds("{}={}".format, paths, scalars),
    st.builds("{}={}".format, paths, st.lists(yaml_pieces | st.sampled_from(WORDS), max_size=5).map("".join)),
)
many = settings(max_examples=200)


def check(text: str, sets: list[str]) -> None:
    """Either a spec that can be written and read back, or a UserError whose message can be printed."""
    try:
        spec = parse_job(text, "jobs/mine.yaml", "mine", sets)
    except UserError as error:
        assert str(error).encode("utf-8")
        assert str(error).replace("\n", "").isprintable()
        assert "jobs/mine.yaml" in str(error) or "--set " in str(error)
    else:
        assert parse_job(dump_spec(spec), "spec.yaml", "run") == spec


@many
@given(st.text(max_size=200))
def test_any_text_is_a_spec_or_a_user_error(text: str) -> None:
    check(text, [])


@many
@given(st.lists(yaml_pieces | keys | st.sampled_from(WORDS), max_size=30).map("".join), st.booleans())
def test_any_yaml_syntax_is_a_spec_or_a_user_error(text: str, with_base: bool) -> None:
    check(BASE + text if with_base else text, [])


@many
@given(trees, st.booleans())
def test_any_tree_is_a_spec_or_a_user_error(tree: dict[str, Any], with_base: bool) -> None:
    check(yaml.safe_dump((yaml.safe_load(BASE) if with_base else {}) | tree), [])


@many
@given(st.lists(set_items, min_size=1, max_size=4))
def test_any_set_is_a_spec_or_a_user_error(items: list[str]) -> None:
    check(BASE, items)


DETECTION = "task: detection\nmodel: {name: yolov8n, weights: yolov8n.pt}\ndata: {name: coco, size: [640, 640]}\n"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("detect: {floors: [0.25, 0.001]}", "detect.floors: [0.25, 0.001] do not ascend"),
        ("detect: {floors: [0.25, 0.25]}", "detect.floors: [0.25, 0.25] do not ascend"),
        ("data: {name: coco, size: [640, 650]}", "data.size: [640, 650]: a detector takes multiples of 32"),
        ("data: {name: coco, size: [640, 640], augment: camvid}", 'data.augment: "camvid" does not move boxes'),
        ("model: {name: yolov8n}\ntrain: {epochs: 0}", "model.weights: random, and train.epochs is 0"),
        ("train: {schedule: polynomial}", 'train.schedule: "polynomial" is not for detection'),
        ("train: {freeze: encoder}", 'train.freeze: "encoder" is for segmentation'),
        ("train: {checkpoint: {unit: steps}}", "train.checkpoint.unit: detection has checkpoints by epochs only"),
        ("train: {label_smoothing: 0.1}", "train.label_smoothing: is not for detection; expected 0"),
        ("train: {compile: true}", "train.compile: is not for detection; expected False"),
        ("train: {batch: 10}\nresources: {workers: 3}", "train.batch: 10 is not a multiple of resources.workers = 3"),
    ],
)
def test_what_a_detection_job_cannot_have(more: str, told: str) -> None:
    tree = {**yaml.safe_load(DETECTION), **yaml.safe_load(more)}
    assert told in message(yaml.safe_dump(tree))


def test_without_training_any_number_of_workers_will_do() -> None:
    tree = {**yaml.safe_load(DETECTION), "train": {"epochs": 0, "batch": 10}, "resources": {"workers": 3}}
    assert parse_job(yaml.safe_dump(tree), "jobs/mine.yaml", "mine").resources.workers == 3


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("train.epochs=0", "train.epochs: 0 is for detection; expected 1 or more"),
        ("train.optimizer=sgd", 'train.optimizer: "sgd" is for detection; expected adam'),
        ("data.augment=yolo", 'data.augment: "yolo" is for detection'),
        ("detect.batch=4", "detect: is for detection, and the job's task is classification"),
        ("model.trust=true", "model.trust: is for detection"),
    ],
)
def test_what_only_a_detection_job_can_have(item: str, told: str) -> None:
    assert told in message("task: classification\nmodel: {name: resnet18}\ndata: {name: wildlife}\n", item)
