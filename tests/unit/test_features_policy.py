"""Fetch or compute: what the measured medians decide."""

from __future__ import annotations

from glyph_worker.features.break_even import BreakEven, RunningMedian

PAGE = 100  # visual tokens


def measured(
    *, encode: float, fetch: float | None = None, publish: float | None = None
) -> BreakEven:
    """A policy that has seen pages take so many ms."""
    policy = BreakEven()
    for _ in range(5):
        policy.encoded(PAGE, 1, encode)
        if fetch is not None:
            policy.fetched(PAGE, 1, fetch)
        if publish is not None:
            policy.published(PAGE, publish)
    return policy


def test_a_median_forgets_what_is_old_and_ignores_one_slow_moment() -> None:
    median = RunningMedian(window=5)
    assert median.value is None
    for sample in (1, 1, 900, 1, 1):
        median.add(sample)
    assert median.value == 1
    for _ in range(5):
        median.add(7)
    assert median.value == 7


def test_nothing_measured_means_yes() -> None:
    policy = BreakEven()
    assert policy.fetch_pays()
    assert policy.ask_pays(PAGE)
    assert policy.patience_s(PAGE) == 0.5


def test_fetching_pays_only_below_the_encode() -> None:
    assert measured(encode=10, fetch=8).fetch_pays()
    assert not measured(encode=10, fetch=9.5).fetch_pays()
    assert not measured(encode=10, fetch=100).ask_pays(PAGE)


def test_publishing_stands_for_fetching_until_something_was_fetched() -> None:
    assert not measured(encode=10, publish=50).fetch_pays()
    assert measured(encode=10, publish=50, fetch=1).fetch_pays()


def test_one_slow_fetch_decides_nothing() -> None:
    policy = measured(encode=10)
    policy.fetched(PAGE, 1, 500)
    assert policy.fetch_pays()


def test_a_cheap_question_is_always_asked() -> None:
    policy = measured(encode=10, fetch=1)
    for _ in range(5):
        policy.asked(0.05)
    policy.found(0, 10_000)
    assert policy.ask_pays(PAGE)


def test_a_dear_question_is_asked_only_where_hits_pay_for_it() -> None:
    policy = measured(encode=10, fetch=1)
    for _ in range(5):
        policy.asked(3)
    policy.found(1000, 1000)
    assert policy.ask_pays(PAGE)  # saves 9 ms a page
    policy.found(0, 1000)
    assert not policy.ask_pays(PAGE)


def test_what_does_not_pay_is_still_asked_at_one_per_cent() -> None:
    policy = measured(encode=10, fetch=1)
    for _ in range(5):
        policy.asked(3)
    policy.found(0, 1000)

    asked = sum(policy.ask_pays(PAGE) for _ in range(3_000))

    # 3,000 pages take 30 s to encode; 1 % is 300 ms, a hundred questions of 3 ms.
    assert 90 <= asked <= 100


def test_patience_is_no_longer_than_the_encode() -> None:
    policy = measured(encode=60)
    assert policy.patience_s(PAGE) == 0.06
    assert policy.patience_s(PAGE // 100) == 0.05
    assert policy.patience_s(PAGE * 100) == 0.5


def test_switched_off_the_answer_is_always_yes() -> None:
    policy = BreakEven(measured=False)
    for _ in range(5):
        policy.encoded(PAGE, 1, 1)
        policy.fetched(PAGE, 1, 1000)
        policy.asked(1000)
    assert policy.fetch_pays()
    assert policy.ask_pays(PAGE)
    assert policy.probe_in_s(1e9) is None


def test_probes_take_one_per_cent_of_the_time() -> None:
    policy = measured(encode=10, fetch=100)
    assert policy.probe_in_s(0.0) == 0.0
    policy.probed(0.0, 2.0)
    assert policy.probe_in_s(50.0) == 150.0
    assert policy.probe_in_s(200.0) == 0.0


def test_a_link_in_use_is_not_probed() -> None:
    assert measured(encode=10, fetch=1).probe_in_s(1e9) is None


def test_a_link_that_recovers_is_used_again_after_a_few_probes() -> None:
    policy = measured(encode=10, fetch=100)
    num_probes = 0
    while not policy.fetch_pays():
        policy.fetched(PAGE, None, 1)
        num_probes += 1
    assert num_probes <= 5


def test_estimates_are_per_page_of_median_size() -> None:
    policy = BreakEven()
    assert policy.estimates()["encode_ms_per_page"] is None
    policy.encoded(4 * PAGE, 4, 40)
    assert policy.estimates()["encode_ms_per_page"] == 10
