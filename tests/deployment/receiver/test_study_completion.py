"""When a study is complete, and when it is one too many."""

import threading

import pytest

from srcmatters.deployment.receiver.study_completion import QueueFull, StudyCompletion


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


def _bring(arrivals: StudyCompletion, study: str, association: str) -> None:
    with arrivals.arriving(study, association):
        pass


def _next(arrivals: StudyCompletion) -> str | None:
    return arrivals.take_next(str, timeout=0)


def test_a_released_association_completes_its_studies(clock: _Clock) -> None:
    arrivals = StudyCompletion(clock=clock)
    _bring(arrivals, "a", "first")
    _bring(arrivals, "b", "second")
    assert _next(arrivals) is None
    assert arrivals.released("first") == 1
    clock.now = 1
    assert _next(arrivals) == "a"
    assert _next(arrivals) is None


def test_a_study_in_two_associations_one_after_the_other_is_one(clock: _Clock) -> None:
    arrivals = StudyCompletion(release_settle_seconds=1, clock=clock)
    _bring(arrivals, "a", "first")
    clock.now = 4  # the sender may be slow to release
    arrivals.released("first")
    clock.now = 4.9
    assert _next(arrivals) is None
    _bring(arrivals, "a", "second")
    clock.now = 8
    assert _next(arrivals) is None
    arrivals.released("second")
    clock.now = 8.9
    assert _next(arrivals) is None
    clock.now = 9
    assert _next(arrivals) == "a"


def test_after_a_release_a_study_waits_no_longer_than_without_one(clock: _Clock) -> None:
    arrivals = StudyCompletion(settle_seconds=0.5, release_settle_seconds=60, clock=clock)
    _bring(arrivals, "a", "first")
    arrivals.released("first")
    clock.now = 0.5
    assert _next(arrivals) == "a"


def test_a_study_waits_for_all_of_its_associations(clock: _Clock) -> None:
    arrivals = StudyCompletion(clock=clock)
    _bring(arrivals, "a", "first")
    _bring(arrivals, "a", "second")
    arrivals.released("first")
    assert _next(arrivals) is None
    arrivals.released("second")
    clock.now = 1
    assert _next(arrivals) == "a"


def test_after_an_abort_a_study_settles(clock: _Clock) -> None:
    arrivals = StudyCompletion(settle_seconds=5, clock=clock)
    _bring(arrivals, "a", "first")
    assert arrivals.aborted("first") == 1
    clock.now = 4.9
    assert _next(arrivals) is None
    _bring(arrivals, "a", "again")  # the sender comes back with the rest: it is one study
    clock.now = 9.8
    assert _next(arrivals) is None
    clock.now = 9.9
    assert _next(arrivals) == "a"


def test_the_release_of_a_second_attempt_completes_an_aborted_first(clock: _Clock) -> None:
    arrivals = StudyCompletion(clock=clock)
    _bring(arrivals, "a", "first")
    arrivals.aborted("first")
    _bring(arrivals, "a", "again")
    arrivals.released("again")
    clock.now = 1
    assert _next(arrivals) == "a"


def test_an_association_that_stays_open_does_not_hold_a_study(clock: _Clock) -> None:
    arrivals = StudyCompletion(settle_seconds=5, clock=clock)
    _bring(arrivals, "a", "open for ever")
    clock.now = 5
    assert _next(arrivals) == "a"


def test_senders_with_an_association_for_every_instance_settle(clock: _Clock) -> None:
    arrivals = StudyCompletion(settle_seconds=5, release_completes=False, clock=clock)
    _bring(arrivals, "a", "first")
    arrivals.released("first")
    assert _next(arrivals) is None
    clock.now = 5
    assert _next(arrivals) == "a"


def test_a_study_is_not_handed_over_while_an_instance_is_written(clock: _Clock) -> None:
    arrivals = StudyCompletion(settle_seconds=5, clock=clock)
    _bring(arrivals, "a", "first")
    with arrivals.arriving("a", "first"):
        clock.now = 60
        assert _next(arrivals) is None
    clock.now = 65
    assert _next(arrivals) == "a"


def test_one_study_too_many_is_turned_away_but_no_instance_of_a_waiting_one(clock: _Clock) -> None:
    arrivals = StudyCompletion(max_queued=2, release_settle_seconds=0, clock=clock)
    _bring(arrivals, "a", "first")
    _bring(arrivals, "b", "first")
    with pytest.raises(QueueFull), arrivals.arriving("c", "first"):
        pytest.fail("one too many was let in")
    _bring(arrivals, "b", "first")
    arrivals.released("first")
    assert _next(arrivals) == "a"
    _bring(arrivals, "c", "second")


def test_an_instance_that_could_not_be_written_takes_no_place(clock: _Clock) -> None:
    arrivals = StudyCompletion(max_queued=1, clock=clock)
    with pytest.raises(OSError), arrivals.arriving("a", "first"):
        raise OSError
    assert len(arrivals) == 0
    _bring(arrivals, "b", "first")
    assert len(arrivals) == 1


def test_a_study_that_could_not_be_taken_is_still_there(clock: _Clock) -> None:
    arrivals = StudyCompletion(release_settle_seconds=0, clock=clock)
    _bring(arrivals, "a", "first")
    arrivals.released("first")

    def fail(study: str) -> str:
        raise OSError

    with pytest.raises(OSError):
        arrivals.take_next(fail, timeout=0)
    assert _next(arrivals) == "a"


def test_who_waits_is_woken_by_the_release() -> None:
    arrivals = StudyCompletion(settle_seconds=60, release_settle_seconds=0.1)
    _bring(arrivals, "a", "first")
    timer = threading.Timer(0.1, arrivals.released, ["first"])
    timer.start()
    assert arrivals.take_next(str, timeout=30) == "a"
    timer.join()


def test_what_a_server_left_behind_settles(clock: _Clock) -> None:
    arrivals = StudyCompletion(settle_seconds=5, clock=clock)
    arrivals.restore(["a"])
    assert _next(arrivals) is None
    clock.now = 5
    assert _next(arrivals) == "a"
