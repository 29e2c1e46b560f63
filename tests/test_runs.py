"""Run folders: ids, claims, fencing, histories."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from visionjobs.cli.run import continued_spec
from visionjobs.errors import FinalError, ObjectExistsError, SupersededError, UserError
from visionjobs.jobfile import find_job, load_job
from visionjobs.runs import RUN_ID, Run, create_run, dump_rows, new_run_id, open_run, run_ids
from visionjobs.storage import Store, open_store
from visionjobs.training.driver import check_may_start

JOBS = Path(__file__).parent.parent / "jobs"


@pytest.fixture
def root(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "storage"))


@pytest.fixture
def run(root: Store) -> Run:
    return create_run(root, load_job(find_job("convnet", JOBS)), "{}")


@pytest.mark.parametrize("job", ["convnet", "resnet_aug", "a" + "_x" * 12])
def test_run_id_is_a_dns_label_that_kuberay_takes(job: str) -> None:
    run_id = new_run_id(job)
    assert RUN_ID.match(run_id)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", run_id)
    assert len(run_id) <= 47


def test_ids_differ() -> None:
    assert len({new_run_id("convnet") for _ in range(50)}) > 45


def test_spec_comes_back_as_stored(run: Run) -> None:
    assert run.spec() == load_job(find_job("convnet", JOBS))


def test_unknown_run_names_the_nearest(root: Store, run: Run) -> None:
    with pytest.raises(UserError, match=f'Did you mean "{run.id}"'):
        open_run(root, run.id[:-1] + "z")
    assert run_ids(root) == [run.id]


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", "X", ".."])
def test_a_run_id_cannot_leave_the_folder(root: Store, run_id: str) -> None:
    with pytest.raises(UserError, match=f'There is no run "{re.escape(run_id)}" in {root.address}'):
        open_run(root, run_id)


@pytest.mark.parametrize("key", ["dataset.json", "stop.json"])
def test_a_run_that_was_not_made_whole_is_none_and_can_be_made(root: Store, run: Run, key: str) -> None:
    root.at("runs", "other-1").write(key, '{"of": "who was killed"}')
    assert run_ids(root) == [run.id]
    with pytest.raises(UserError, match=r'There is no run "other-1" in \S+ `visionjobs runs` lists them'):
        open_run(root, "other-1")
    made = create_run(root, run.spec(), '{"version": "2"}', "other-1")
    assert made.dataset() == {"version": "2"}
    assert open_run(root, "other-1").spec() == run.spec()
    assert run_ids(root) == sorted([run.id, "other-1"])


def test_a_run_is_made_once(root: Store, run: Run) -> None:
    with pytest.raises(ObjectExistsError):
        create_run(root, run.spec(), '{"version": "2"}', run.id)
    assert run.dataset() == {}


def test_of_those_who_make_a_run_at_once_one_does_and_it_is_whole(root: Store, run: Run) -> None:
    def make(_: int) -> bool:
        try:
            create_run(root, run.spec(), '{"version": "2"}', "other-1")
        except ObjectExistsError:
            return bool(open_run(root, "other-1").dataset())
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(make, range(8)))


def test_attempts_are_numbered(run: Run) -> None:
    assert [run.claim("attempt", {"n": n}).number for n in range(3)] == [1, 2, 3]
    assert [(claim.number, claim.kind, claim.info) for claim in run.claims()] == [
        (1, "attempt", {"n": 0}), (2, "attempt", {"n": 1}), (3, "attempt", {"n": 2}),
    ]  # fmt: skip


def test_of_attempts_at_once_each_gets_its_own_number(run: Run) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: run.claim("attempt", {}).number, range(8)))
    assert sorted(numbers) == list(range(1, 9))


def test_superseded_attempt_writes_nothing_more(run: Run) -> None:
    old = run.claim("attempt", {})
    old.write("progress.json", "{}")
    old.update_record(state="running")
    run.claim("attempt", {})
    before = {entry.key: run.store.read(entry.key) for entry in run.store.entries()}
    for write in (
        lambda: old.write("progress.json", '{"step": 9}'),
        lambda: old.write_shared("metrics.json", "{}"),
        lambda: old.update_record(state="complete"),
    ):
        with pytest.raises(SupersededError):
            write()
    assert {entry.key: run.store.read(entry.key) for entry in run.store.entries()} == before


def test_only_one_of_finaliser_and_newer_attempt_gets_the_number(run: Run) -> None:
    old = run.claim("attempt", {})
    run.claim("attempt", {})
    with pytest.raises(SupersededError):
        run.claim("finaliser", {}, number=old.number + 1)


def test_finaliser_supersedes_its_attempt_and_is_superseded_by_the_next(run: Run) -> None:
    attempt = run.claim("attempt", {})
    final = run.claim("finaliser", {}, number=2)
    with pytest.raises(SupersededError):
        attempt.check_not_superseded()
    final.write_shared("metrics.json", "{}")
    run.claim("attempt", {})
    with pytest.raises(SupersededError):
        final.write_shared("metrics.json", "{}")


def test_history_is_merged_over_attempts(run: Run) -> None:
    first = run.claim("attempt", {})
    first.write("metrics.jsonl", dump_rows([{"epoch": 0, "x": 1}, {"epoch": 1, "x": 2}, {"epoch": 2, "x": 3}]))
    second = run.claim("attempt", {})
    second.write("metrics.jsonl", dump_rows([{"epoch": 1, "x": 20}, {"epoch": 2, "x": 30}, {"epoch": 3, "x": 40}]))
    assert [row["x"] for row in run.history()] == [1, 20, 30, 40]


def test_record_that_was_cut_off_is_named(run: Run) -> None:
    run.store.write("record.json", '{"state": ')
    with pytest.raises(UserError, match=r"record\.json is not valid JSON"):
        run.record()


@pytest.mark.parametrize("sets", [["train.lr=0.5"], ["data.size=[96, 96]"], ["train.seed=3", "train.epochs=20"]])
def test_other_values_are_refused_with_the_difference(run: Run, sets: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        continued_spec(run.spec(), sets, run.id)
    assert sets[0].partition("=")[0] in str(caught.value)
    assert "in the run" in str(caught.value)
    assert "train.epochs: 10" not in str(caught.value), "epochs may change, so they are no difference to refuse"


def test_learning_rate_message_shows_both_values(run: Run) -> None:
    with pytest.raises(UserError, match=r"train\.lr: 0\.001 in the run, 0\.5 asked for"):
        continued_spec(run.spec(), ["train.lr=0.5"], run.id)


@pytest.mark.parametrize("sets", [["train.epochs=20"], ["resources.workers=2"], ["limits.attempts=50"], []])
def test_epochs_resources_and_limits_may_change(run: Run, sets: list[str]) -> None:
    continued_spec(run.spec(), sets, run.id)


def test_complete_run_is_not_continued_by_accident(run: Run) -> None:
    run.claim("attempt", {}).update_record(state="complete", epochs=10)
    with pytest.raises(UserError, match="is complete after 10 epochs"):
        check_may_start(run, run.spec())
    with pytest.raises(UserError, match="checkpoints were pruned"):
        check_may_start(run, continued_spec(run.spec(), ["train.epochs=12"], run.id))


def test_failure_that_would_repeat_is_not_tried_again(run: Run) -> None:
    run.claim("attempt", {}).update_record(state="failed", message="the loss of step 3 is not finite")
    with pytest.raises(FinalError, match="the loss of step 3 is not finite"):
        check_may_start(run, run.spec())


def test_attempts_are_bounded(run: Run) -> None:
    for _ in range(10):
        run.claim("attempt", {})
    with pytest.raises(FinalError, match="10 attempts"):
        check_may_start(run, run.spec())
    check_may_start(run, continued_spec(run.spec(), ["limits.attempts=11"], run.id))


def test_spec_now_has_what_was_changed_when_the_run_was_continued(run: Run) -> None:
    assert run.spec_now() == run.spec()
    attempt = run.claim("attempt", {})
    attempt.update_record(
        changes={"train.epochs": [10, 12], "limits.hours": [None, 2.5], "resources.gpus": ["auto", 0]}
    )
    now = run.spec_now()
    assert (now.train.epochs, now.limits.hours, now.resources.gpus) == (12, 2.5, 0)
    assert run.spec().train.epochs == 10


@pytest.mark.s3
def test_claims_on_s3_are_conditional_puts(seaweedfs, monkeypatch) -> None:
    seaweedfs.use(monkeypatch)
    root = open_store(f"{seaweedfs.address}/claims")
    run = create_run(root, load_job(find_job("convnet", JOBS)), "{}")
    with ThreadPoolExecutor(4) as pool:
        attempts = list(pool.map(lambda _: run.claim("attempt", {}), range(4)))
    assert sorted(attempt.number for attempt in attempts) == [1, 2, 3, 4]
    old = next(attempt for attempt in attempts if attempt.number == 2)
    with pytest.raises(SupersededError):
        old.write("progress.json", "{}")
    with pytest.raises(SupersededError):
        run.claim("finaliser", {}, number=3)
    assert json.loads(run.store.read("attempts/0004/claim.json"))["kind"] == "attempt"
