"""Checkpoints on disk: whole or set aside, thinned out, and nothing but tensors and plain values."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from tiny import assert_same_bits, final_weights, start_attempt, tiny_spec, train_here

from visionjobs.errors import SupersededError
from visionjobs.runs import Attempt
from visionjobs.storage import Store
from visionjobs.training.checkpoint import best_checkpoint, decode_state, list_checkpoints, load_newest, save_checkpoint


def save(attempt: Attempt, step: int, tmp_path: Path, score: float | None = None) -> None:
    state = {"step": step, "model": {"w": torch.full((3,), float(step))}}
    save_checkpoint(attempt, state, step=step, epoch=step // 10, score=score, scratch=tmp_path / "scratch")


@pytest.fixture
def attempt(root: Store) -> Attempt:
    return start_attempt(root, tiny_spec())


def test_round_trip(attempt: Attempt, tmp_path: Path) -> None:
    save(attempt, 7, tmp_path)
    info, data = load_newest(attempt.run, pytest.fail)
    state = decode_state(data)
    assert (info.step, state["step"]) == (7, 7)
    assert torch.equal(state["model"]["w"], torch.full((3,), 7.0))
    assert not list((tmp_path / "scratch").iterdir())


def test_the_last_two_and_the_best_are_kept(attempt: Attempt, tmp_path: Path) -> None:
    for step, score in [(10, 0.1), (20, 0.9), (30, 0.2), (35, None), (40, 0.3), (50, 0.9)]:
        save(attempt, step, tmp_path, score)
    infos = list_checkpoints(attempt.run)
    assert [info.step for info in infos] == [20, 40, 50]
    assert best_checkpoint(infos).step == 20, "of equal ones the earliest"
    assert len([entry for entry in attempt.run.store.entries() if entry.key.endswith("state.pt")]) == 3


def test_retention_spans_attempts(attempt: Attempt, tmp_path: Path) -> None:
    save(attempt, 10, tmp_path, 0.5)
    save(attempt, 20, tmp_path, 0.4)
    second = attempt.run.claim("attempt", {})
    save(second, 30, tmp_path, 0.1)
    save(second, 40, tmp_path, 0.2)
    assert [info.step for info in list_checkpoints(attempt.run)] == [10, 30, 40]


def damage_truncate(folder: Path) -> None:
    state = folder / "state.pt"
    state.write_bytes(state.read_bytes()[:-20])


def damage_one_bit(folder: Path) -> None:
    data = bytearray((folder / "state.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "state.pt").write_bytes(data)


def damage_missing(folder: Path) -> None:
    (folder / "state.pt").unlink()


def damage_empty(folder: Path) -> None:
    (folder / "state.pt").write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_truncate, damage_one_bit, damage_missing, damage_empty])
def test_damaged_newest_is_set_aside_and_the_one_before_used(attempt: Attempt, tmp_path: Path, damage) -> None:
    save(attempt, 10, tmp_path)
    save(attempt, 20, tmp_path)
    folder = Path(attempt.store.address) / "checkpoints" / "step-000000020"
    damage(folder)
    warnings: list[str] = []
    info, _ = load_newest(attempt.run, warnings.append)
    assert info.step == 10
    assert "step-000000020" in warnings[0]
    assert (folder / "damaged.json").is_file()
    assert load_newest(attempt.run, pytest.fail)[0].step == 10, "not tried a second time"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": 1}'])
def test_manifest_that_cannot_be_read_is_set_aside(attempt: Attempt, tmp_path: Path, text: str) -> None:
    save(attempt, 10, tmp_path)
    save(attempt, 20, tmp_path)
    folder = Path(attempt.store.address) / "checkpoints" / "step-000000020"
    (folder / "manifest.json").write_text(text)
    assert load_newest(attempt.run, pytest.fail)[0].step == 10
    assert "manifest" in json.loads((folder / "damaged.json").read_text())["problem"]


def test_state_without_a_manifest_does_not_count(attempt: Attempt, tmp_path: Path) -> None:
    save(attempt, 10, tmp_path)
    save(attempt, 20, tmp_path)
    (Path(attempt.store.address) / "checkpoints" / "step-000000020" / "manifest.json").unlink()
    assert load_newest(attempt.run, pytest.fail)[0].step == 10


def test_all_damaged_means_from_the_start(attempt: Attempt, tmp_path: Path) -> None:
    save(attempt, 10, tmp_path)
    damage_truncate(Path(attempt.store.address) / "checkpoints" / "step-000000010")
    assert load_newest(attempt.run, lambda _: None) is None


def test_superseded_attempt_saves_nothing(attempt: Attempt, tmp_path: Path) -> None:
    newer = attempt.run.claim("attempt", {})
    before = attempt.run.store.entries()
    with pytest.raises(SupersededError, match="attempt 1 was superseded by attempt 2"):
        save(attempt, 10, tmp_path)
    assert attempt.run.store.entries() == before
    save(newer, 10, tmp_path)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"x": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(pickle.UnpicklingError):
        decode_state((tmp_path / "evil.pt").read_bytes())
    assert not (tmp_path / "ran").exists()


def test_truncated_newest_in_a_real_run(root: Store) -> None:
    """The run goes on from the checkpoint before, and still ends in the same bits."""
    spec = tiny_spec("train.epochs=3")
    whole, attempt = start_attempt(root, spec), start_attempt(root, tiny_spec("train.epochs=2"))
    train_here(root, whole, spec)
    train_here(root, attempt, tiny_spec("train.epochs=2"))
    newest = list_checkpoints(attempt.run)[-1]
    damage_truncate(Path(attempt.run.store.address) / newest.key)
    second = attempt.run.claim("attempt", {})
    train_here(root, second, spec)
    assert_same_bits(final_weights(whole.run), final_weights(attempt.run))
    assert any("damaged" in text for text in json.loads(second.store.read("progress.json"))["warnings"])
