"""One loop waits for jobs of every kind: here of a queue outside, whose states may be wrong."""

import json

import pytest

from flywheel.errors import JobFailed
from flywheel.records import Job
from flywheel.turn import jobs as turn_jobs
from flywheel.turn.jobs import Jobs
from tests.fakes.job_queue import JobQueue, QueueExecutor
from tests.waiting import CEILING_S

JOB = Job(id="j-1", kind="train", spec={"threads": 1}, timeout_s=600.0)
GOOD = ("queued", "running", "result", "done")


class Clock:
    """Seconds since the epoch, as the loop reads them."""

    def __init__(self):
        self.now = 1_000_000.0
        self.set_by = 0.0  # what somebody, or NTP, set the date by

    def time(self):
        return self.now + self.set_by

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    standing = Clock()
    monkeypatch.setattr(turn_jobs, "time", standing)
    return standing


@pytest.fixture
def jobs_over(tmp_path):
    """Builds a daemon's jobs over a queue; the next one is a daemon that started anew."""

    def build(queue, grace_s=0.0):
        return Jobs(QueueExecutor(queue, grace_s), tmp_path)

    return build


def noted(folder):
    return json.loads((folder / "j-1" / "worker.json").read_text())


def note(folder, **more):
    """What a daemon before has written of the job."""
    (folder / "j-1").mkdir()
    told = {"executor": "queue", "handle": "", "submitted": 1_000_000.0, **more}
    (folder / "j-1" / "worker.json").write_text(json.dumps(told))


def test_a_job_waits_runs_and_its_result_is_brought(jobs_over, tmp_path, clock):
    queue = JobQueue(GOOD)
    assert jobs_over(queue).run(JOB).values == {"from": "q-1"}
    assert noted(tmp_path) == {
        "executor": "queue", "handle": "q-1", "submitted": clock.now, "running_since": clock.now,
        "running_at": clock.now, "boot": turn_jobs._boot(),
    }  # fmt: skip
    assert json.loads((tmp_path / "j-1" / "job.json").read_text()) == {
        "id": "j-1", "kind": "train", "spec": {"threads": 1},
    }  # fmt: skip


def test_an_empty_handle_is_on_disk_before_the_job_is_submitted(jobs_over, tmp_path):
    queue, seen = JobQueue(GOOD), []
    jobs = jobs_over(queue)
    submit = jobs._executor.submit

    def noting(job, folder):
        seen.append(noted(tmp_path)["handle"])
        return submit(job, folder)

    jobs._executor.submit = noting
    jobs.run(JOB)
    assert seen == [""]


# A daemon that died


def test_a_job_that_is_at_work_is_adopted_by_its_handle(jobs_over, tmp_path):
    queue = JobQueue(GOOD)
    note(tmp_path, handle=queue.take("j-1"))
    assert jobs_over(queue).run(JOB).values == {"from": "q-1"}
    assert list(queue.entries) == ["q-1"]


def test_a_job_that_was_taken_but_not_noted_is_adopted_by_its_name(jobs_over, tmp_path):
    queue = JobQueue(GOOD)
    queue.take("j-1")
    note(tmp_path)
    assert jobs_over(queue).run(JOB).values == {"from": "q-1"}
    assert list(queue.entries) == ["q-1"]
    assert noted(tmp_path)["handle"] == "q-1"


def test_a_job_that_was_not_taken_is_submitted_once(jobs_over, tmp_path):
    queue = JobQueue(GOOD)
    note(tmp_path)
    assert jobs_over(queue).run(JOB).ok
    assert list(queue.entries) == ["q-1"]


def test_a_job_that_ended_meanwhile_is_not_submitted_again(jobs_over, tmp_path):
    queue = JobQueue(["result", "done"])
    note(tmp_path, handle=queue.take("j-1"))
    assert jobs_over(queue).run(JOB).ok
    assert list(queue.entries) == ["q-1"]


def test_what_died_while_nobody_looked_may_still_be_lost_once(jobs_over, tmp_path):
    queue = JobQueue(["gone"], ["running", "gone"], GOOD)
    note(tmp_path, handle=queue.take("j-1"))
    assert jobs_over(queue).run(JOB).values == {"from": "q-3"}


def test_a_job_of_another_executor_is_begun_anew(jobs_over, tmp_path, caplog):
    queue = JobQueue(GOOD)
    note(tmp_path, executor="local", handle="1:1")
    assert jobs_over(queue).run(JOB).values == {"from": "q-1"}
    assert "j-1 was begun by the executor local, it is begun anew" in caplog.messages


@pytest.mark.parametrize("handle", ["", "q-1"])
def test_a_daemon_cancels_what_one_before_it_submitted(jobs_over, tmp_path, handle):
    queue = JobQueue(["queued"])
    queue.take("j-1")
    note(tmp_path, handle=handle)
    jobs_over(queue).cancel("j-1")
    assert queue.cancelled() == ["q-1"]


# The folder is the truth


@pytest.mark.parametrize("state", ["failed", "gone", "queued"])
def test_a_result_counts_whatever_the_state_is(jobs_over, tmp_path, state):
    queue = JobQueue(["running", "result", state])
    assert jobs_over(queue).run(JOB).ok
    assert list(queue.entries) == ["q-1"]


@pytest.mark.parametrize("state", ["failed", "gone", "done"])
def test_a_bad_state_is_not_believed_before_the_grace_is_over(jobs_over, state):
    queue = JobQueue(["running", state, state, "result", "done"])
    assert jobs_over(queue, grace_s=CEILING_S).run(JOB).values == {"from": "q-1"}


def test_the_grace_begins_again_when_the_job_is_seen_alive(jobs_over, clock):
    def later(state):
        def step():
            clock.now += 20.0
            return state

        return step

    lives = ["running", later("failed"), later("running"), later("failed"), "result", "done"]
    assert jobs_over(JobQueue(lives), grace_s=30.0).run(JOB).ok
    lives = ["running", later("failed"), later("failed"), later("failed"), "result", "done"]
    with pytest.raises(JobFailed, match="ended without a result"):
        jobs_over(JobQueue(lives), grace_s=30.0).run(
            Job(id="j-2", kind="train", spec={}, timeout_s=1e6)
        )


def test_a_job_that_failed_by_itself_is_not_tried_again(jobs_over):
    queue = JobQueue(["running", "failed"])
    with pytest.raises(JobFailed, match="train job j-1 ended without a result"):
        jobs_over(queue).run(JOB)
    assert list(queue.entries) == ["q-1"]


def test_a_job_that_is_gone_is_submitted_once_more(jobs_over, caplog):
    queue = JobQueue(["queued", "gone"], GOOD)
    assert jobs_over(queue).run(JOB).values == {"from": "q-2"}
    assert "train job j-1 ended without a result; it is started once more" in caplog.messages


def test_a_job_that_is_gone_twice_fails(jobs_over):
    queue = JobQueue(["running", "gone"], ["running", "gone"])
    with pytest.raises(JobFailed, match="ended without a result"):
        jobs_over(queue).run(JOB)
    assert list(queue.entries) == ["q-1", "q-2"]


# Ended by flywheel


@pytest.mark.parametrize("life", [[], ["queued"], ["queued", "running"]], ids=str)
def test_a_job_is_cancelled_in_every_state(jobs_over, life):
    def cancel():
        jobs.cancel("j-1")
        return "running"

    queue = JobQueue([*life, cancel, "running"])
    jobs = jobs_over(queue)
    with pytest.raises(JobFailed, match="train job j-1 was cancelled"):
        jobs.run(JOB)
    assert queue.cancelled() == ["q-1"]


def test_a_job_that_is_cancelled_before_it_is_run_is_not_submitted(jobs_over, tmp_path):
    queue = JobQueue(GOOD)
    jobs = jobs_over(queue)
    jobs.cancel("j-1")
    with pytest.raises(JobFailed, match="was cancelled"):
        jobs.run(JOB)
    assert queue.entries == {}
    assert not (tmp_path / "j-1" / "worker.json").exists()


def test_a_job_that_is_cancelled_while_it_is_submitted_does_not_go_on(jobs_over):
    queue = JobQueue(["queued", "running"])
    jobs = jobs_over(queue)
    submit = jobs._executor.submit

    def cancelled_meanwhile(job, folder):
        jobs.cancel(job.id)
        return submit(job, folder)

    jobs._executor.submit = cancelled_meanwhile
    with pytest.raises(JobFailed, match="was cancelled"):
        jobs.run(JOB)
    assert queue.cancelled() == ["q-1"]


def test_a_job_that_is_cancelled_when_it_is_lost_is_not_submitted_again(jobs_over):
    def cancel():
        jobs.cancel("j-1")
        return "gone"

    queue = JobQueue(["running", cancel])
    jobs = jobs_over(queue)
    with pytest.raises(JobFailed, match="was cancelled"):
        jobs.run(JOB)
    assert list(queue.entries) == ["q-1"]


def test_a_result_is_kept_when_it_comes_before_the_word_to_cancel(jobs_over):
    def cancel():
        jobs.cancel("j-1")
        return "result"

    queue = JobQueue(["running", cancel, "running"])
    jobs = jobs_over(queue)
    assert jobs.run(JOB).ok
    assert queue.cancelled() == ["q-1"]


def test_a_job_that_has_its_result_and_lingers_is_ended(jobs_over, monkeypatch):
    monkeypatch.setattr(turn_jobs, "_LINGER_S", -1.0)
    queue = JobQueue(["running", "result", "running"])
    assert jobs_over(queue).run(JOB).ok
    assert queue.cancelled() == ["q-1"]


# Too long


def test_a_job_that_runs_too_long_is_ended_and_fails(jobs_over, clock):
    def late():
        clock.now += JOB.timeout_s + 1
        return "running"

    queue = JobQueue(["queued", "running", late])
    with pytest.raises(JobFailed, match="train job j-1 was still running after 600 s") as failed:
        jobs_over(queue).run(JOB)
    assert failed.value.hint.startswith("raise [training] timeout_minutes")
    assert queue.cancelled() == ["q-1"]


def test_the_time_that_a_job_is_queued_does_not_count(jobs_over, clock):
    def late():
        clock.now += JOB.timeout_s + 1
        return "queued"

    assert jobs_over(JobQueue(["queued", late, late, *GOOD])).run(JOB).ok


def test_the_time_before_the_daemon_died_counts(jobs_over, tmp_path, clock):
    queue = JobQueue(["running"])
    since = clock.now - JOB.timeout_s - 1
    boot = turn_jobs._boot()
    note(tmp_path, handle=queue.take("j-1"), running_since=9.0, running_at=since, boot=boot)
    with pytest.raises(JobFailed, match="was still running"):
        jobs_over(queue).run(JOB)


@pytest.mark.parametrize("step_s", [7_200.0, -7_200.0])
def test_a_step_of_the_clock_ends_no_job(jobs_over, clock, step_s):
    def stepped():
        clock.set_by += step_s + JOB.timeout_s
        return "running"

    assert jobs_over(JobQueue(["running", stepped, *GOOD])).run(JOB).ok


@pytest.mark.parametrize("told", [{"boot": "another", "running_at": 1.0}, {}])
def test_after_another_boot_or_version_the_time_of_a_job_begins_anew(
    jobs_over, tmp_path, clock, told
):
    queue = JobQueue(["running", *GOOD])
    note(tmp_path, handle=queue.take("j-1"), running_since=1.0, **told)
    assert jobs_over(queue).run(JOB).ok
    assert noted(tmp_path)["running_at"] == clock.now
