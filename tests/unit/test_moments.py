"""Moments: exact, mergeable in any grouping, and unharmed by a large mean."""

import contextlib
import dataclasses
import functools
import itertools
import threading

import mpmath
import numpy as np
import pytest
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st

from idjax.moments import moments as m
from idjax.moments.blocks import block_moments
from idjax.moments.normalize import standardize_samples
from idjax.moments.one_thread import ONE_THREAD
from idjax.types import IdjaxError


def close(a: m.Moments, b: m.Moments, tolerance: float = 1e-12) -> None:
    assert a.count == b.count
    for field in dataclasses.fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        scale = max(np.max(np.abs(one)), 1e-300) if np.size(one) else 1.0
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale, err_msg=field.name)


def test_against_the_definition():
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(2, 1, (50, 3)), rng.normal(size=(50, 2)), rng.uniform(0, 2, 50)
    got = m.moments_of(x, y, w)
    a = np.c_[x, np.ones(50)]
    second = np.einsum("n,ni,nj->ij", w, a, a) / 50
    block = np.block(
        [
            [got.covariance_xx + np.outer(got.mean_x, got.mean_x), got.mean_x[:, None]],
            [got.mean_x[None], np.ones((1, 1))],
        ]
    )
    np.testing.assert_allclose(got.weight * block, second, rtol=1e-13)
    cross = got.weight * (got.covariance_xy + np.outer(got.mean_x, got.mean_y))
    np.testing.assert_allclose(cross, np.einsum("n,ni,nj->ij", w, x, y) / 50, rtol=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.integers(0, 10_000), st.booleans())
def test_any_grouping_gives_the_same(sizes, seed, weighted):
    rng = np.random.default_rng(seed)
    rows = sum(sizes)
    x = 100 + rng.normal(size=(rows, 4)) * [1, 10, 0.1, 1]
    y = rng.normal(size=(rows, 2))
    w = rng.uniform(0.1, 3, rows) if weighted else None
    cuts = list(itertools.pairwise([0, *np.cumsum(sizes).tolist()]))
    parts = [m.moments_of(x[i:j], y[i:j], None if w is None else w[i:j]) for i, j in cuts]
    whole = m.moments_of(x, y, w)
    left = functools.reduce(m.merge, parts)
    right = functools.reduce(lambda a, b: m.merge(b, a), reversed(parts))
    close(left, whole, 1e-11)
    close(right, whole, 1e-11)


def test_block_size_does_not_matter(monkeypatch):
    x = np.random.default_rng(1).normal(1.1, 0.001, (5000, 6))
    whole = m.measure(x)
    monkeypatch.setattr(m, "BLOCK_ROWS", 77)
    blocks = m.measure(x)
    for kind in ("raw", "sample", "sample_weighted"):
        close(getattr(blocks, kind), getattr(whole, kind))


@pytest.mark.parametrize("ratio", [1e3, 1e6, 1e9])
def test_a_large_mean_does_not_round_the_covariance(ratio):
    """The shifted pass against long double; the textbook E[xx] - E[x]E[x] must fail at the same data."""
    x = ratio * (1 + np.arange(3)) + np.random.default_rng(2).normal(size=(400, 3))
    exact = x.astype(np.longdouble)
    exact = exact - exact.mean(axis=0)
    truth = np.asarray(exact.T @ exact / len(x), np.float64)
    np.testing.assert_allclose(m.moments_of(x).covariance_xx, truth, rtol=1e-10, atol=1e-12)
    textbook = x.T @ x / len(x) - np.outer(x.mean(axis=0), x.mean(axis=0))
    assert not np.allclose(textbook, truth, rtol=1e-10, atol=1e-12)


def test_sample_moments_come_from_the_same_pass():
    x = np.random.default_rng(3).normal(3, 0.5, (200, 5))
    z, affine = standardize_samples(x)
    got = m.measure(x)
    close(got.sample, m.moments_of(z))
    close(got.sample_weighted, m.moments_of(z, None, affine.scale[:, 0] ** 2))
    y = x[:, :2]
    with_target = m.measure(x, y)
    close(with_target.sample, m.moments_of(z, y))
    assert with_target.sample_weighted is with_target.sample


def test_numbers_whose_squares_overflow_are_refused():
    with pytest.raises(IdjaxError, match="scale the data down"):
        m.measure(1e200 * np.random.default_rng(0).normal(size=(9, 2)))


def test_constant_rows_weigh_nothing():
    x = np.tile(np.array([[0.1], [7.0], [1e9]], np.float32), (1, 84))
    got = m.measure(x)
    assert got.sample_weighted.weight == 0
    assert not got.sample.covariance_xx.any()
    mixed = m.measure(np.concatenate([x, np.random.default_rng(0).normal(size=(9, 84)).astype(np.float32)]))
    assert mixed.sample_weighted.weight > 0
    assert np.isfinite(mixed.sample_weighted.covariance_xx).all()


def cut(x: np.ndarray, y: np.ndarray | None, rows: int):
    return [(x[i : i + rows], None if y is None else y[i : i + rows]) for i in range(0, len(x), rows)]


def same(a: m.Measured, b: m.Measured, tolerance: float = 1e-12) -> None:
    """Equal to the tolerance of what the columns' deviations make of each number's unit."""
    scales = a.inputs.deviation, a.targets.deviation
    for one, other in ((a.moments.raw, b.moments.raw),):
        for name, left, right in (("covariance_xx", 0, 0), ("covariance_xy", 0, 1), ("covariance_yy", 1, 1)):
            unit = np.outer(scales[left], scales[right])
            assert np.max(np.abs(getattr(one, name) - getattr(other, name)) / unit) < tolerance, name
        assert np.max(np.abs(one.mean_x / other.mean_x - 1)) < tolerance
        assert np.max(np.abs(one.mean_y / other.mean_y - 1)) < tolerance
        assert one.count == other.count
    for one, other, scale in ((a.inputs, b.inputs, scales[0]), (a.targets, b.targets, scales[1])):
        assert one.count == other.count
        np.testing.assert_array_equal(one.low, other.low)
        np.testing.assert_array_equal(one.high, other.high)
        for name, power in (("second", 2), ("third", 3), ("fourth", 4)):
            unit = other.fourth if power == 4 else scale**power
            assert np.max(np.abs(getattr(one, name) - getattr(other, name)) / unit) < tolerance, name


ORDERS = {
    "as they come": lambda x, rng: np.arange(len(x)),
    "shuffled": lambda x, rng: rng.permutation(len(x)),
    "sorted": lambda x, rng: np.argsort(x[:, 0]),
    "backwards": lambda x, rng: np.arange(len(x))[::-1],
    "an outlier first": lambda x, rng: np.argsort(-np.abs(x - x.mean(axis=0)).max(axis=1)),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("ratio", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("target", [True, False])
def test_neither_cut_nor_order_matters(ratio, order, target):
    rng = np.random.default_rng(4)
    x = (ratio + rng.gamma(0.5, size=(120, 5))) * [1, 1e-9, 1e9, -3, 0.1]
    y = ratio + rng.normal(size=(120, 2)) if target else None
    whole = m.measure_stream([(x, y)])
    chosen = ORDERS[order](x, rng)
    x, y = x[chosen], None if y is None else y[chosen]
    for rows in (1, 7, 50):
        same(m.measure_stream(cut(x, y, rows)), whole)
    columns = np.asfortranarray(x), None if y is None else np.asfortranarray(y)
    same(m.measure_stream(cut(*columns, 50)), whole)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.integers(0, 10_000), st.integers(-6, 6))
def test_any_blocks_give_the_same(sizes, seed, decade):
    rng = np.random.default_rng(seed)
    rows = sum(sizes)
    x, y = (1 + rng.normal(size=(rows, 3)) * [1, 1e-3, 1e-6]) * 10.0**decade, rng.normal(size=(rows, 1))
    cuts = list(itertools.pairwise([0, *np.cumsum(sizes).tolist()]))
    # Of so few rows, a column's own deviation can be small beside its distance from the first block's mean.
    same(m.measure_stream([(x[i:j], y[i:j]) for i, j in cuts]), m.measure_stream([(x, y)]), 1e-11)


@pytest.mark.parametrize("ratio", [0, 1e3, 1e6])
def test_columns_against_exact_arithmetic(ratio):
    """Means of powers in 50 digits, by mpmath."""
    x = ratio + np.random.default_rng(6).gamma(0.7, size=(400, 3))
    got = m.measure_stream(cut(x, None, 60)).inputs
    with mpmath.workdps(50):
        for column in range(3):
            exact = [mpmath.mpf(v) for v in x[:, column].tolist()]
            mean = mpmath.fsum(exact) / len(exact)
            assert abs(got.mean[column] / mean - 1) < 1e-15
            for power, found in ((2, got.second), (3, got.third), (4, got.fourth)):
                moment = mpmath.fsum((v - mean) ** power for v in exact) / len(exact)
                assert abs(found[column] / moment - 1) < 1e-12, (power, ratio)
    np.testing.assert_array_equal(got.low, x.min(axis=0))
    np.testing.assert_array_equal(got.high, x.max(axis=0))
    normal = m.measure_stream([(np.random.default_rng(0).normal(size=(200_000, 2)), None)]).inputs
    assert np.abs(normal.kurtosis - 3).max() < 0.1


@pytest.mark.parametrize("value", [0.1, 1e300, -7e-300])
def test_constant_columns_have_no_moments(value):
    x = np.column_stack([np.full(99, value), np.random.default_rng(0).normal(size=99)])
    for rows in (1, 10, 99):
        got = m.measure_stream(cut(x, None, rows))
        assert got.moments.raw.covariance_xx[0].tolist() == [0, 0]
        assert got.inputs.fourth[0] == got.inputs.third[0] == got.inputs.second[0] == 0
        assert got.moments.raw.mean_x[0] == value
        assert np.isnan(got.inputs.kurtosis[0])


def test_samples_in_a_stream():
    """float32 rows that come as float64 are told their spacing, and rows of rounding alone weigh nothing."""
    x = np.tile(np.array([[0.1], [7.0], [1e9]], np.float32), (1, 84))
    x[:, 0] *= np.float32(1 + 2e-7)
    got = m.measure_stream(cut(x.astype(np.float64), None, 2), samples=True, spacing=float(np.finfo(np.float32).eps))
    close(got.moments.sample_weighted, m.measure(x).sample_weighted)
    assert got.moments.sample_weighted.weight == 0
    y = np.random.default_rng(0).normal(size=(3, 1))
    assert not m.measure_stream([(x, y)], samples=True).moments.sample.autoencoder
    with pytest.raises(ValueError, match="samples=True"):
        _ = m.measure(x, samples=False).sample
    plain = m.measure_stream(cut(x, None, 2), columns=False)
    close(plain.moments.raw, m.measure_stream([(x, None)]).moments.raw)
    assert np.isnan([plain.inputs.low, plain.inputs.high, plain.inputs.third, plain.inputs.fourth]).all()
    with pytest.raises(IdjaxError, match="no rows"):
        m.measure_stream([])


@pytest.mark.parametrize("width", [1, 3, 84, 700])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_a_block_against_numpy(width, dtype):
    """Pieces that are cut and padded, any stored dtype; one row more than was counted must show."""
    rng = np.random.default_rng(7)
    x, y = (50 * rng.normal(1, 1, (2003, width))).astype(dtype), rng.normal(size=(2003, 2))
    both = np.column_stack([x.astype(np.float64), y])
    wanted = np.cov(both.T, bias=True)
    unit = np.outer(both.std(axis=0), both.std(axis=0))
    for values in (x, np.asfortranarray(x), x[:, ::-1][:, ::-1]):
        block = block_moments(values, y)
        assert np.max(np.abs(np.triu(block.covariance - wanted)) / unit) < 1e-13
        np.testing.assert_allclose(block.absolute.mean, both.mean(axis=0), rtol=1e-13, atol=1e-13)
        np.testing.assert_array_equal(block.columns.low, both.min(axis=0))
        np.testing.assert_array_equal(block.columns.high, both.max(axis=0))
    more = block_moments(np.concatenate([x, x[:1]]), np.concatenate([y, y[:1]]))
    assert np.max(np.abs(np.triu(more.covariance - wanted)) / unit) > 1e-6


@pytest.mark.parametrize("failing", ["reading", "work"])
def test_errors_in_any_thread_reach_the_caller(failing):
    threads = threading.active_count()
    x = np.random.default_rng(8).normal(size=(20, 3))

    def blocks():
        for i in range(9):
            if i == 5 and failing == "reading":
                raise KeyboardInterrupt
            yield (x if i != 5 else 1e200 * x), None

    with pytest.raises(KeyboardInterrupt if failing == "reading" else IdjaxError):
        m.measure_stream(blocks(), samples=True)
    assert threading.active_count() == threads


def test_few_blocks_are_held_at_a_time():
    done, most = [], 0

    def blocks():
        nonlocal most
        for i in range(50):
            most = max(most, i - len(done))
            yield (i,)

    for result in m._in_order(lambda i: i * i, blocks()):
        done.append(result)
    assert done == [i * i for i in range(50)]
    assert most <= m.WORKERS + 1


def test_the_last_to_leave_restores_the_threads():
    def most():
        return [each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before, first, second = most(), contextlib.ExitStack(), contextlib.ExitStack()
        first.enter_context(ONE_THREAD)
        second.enter_context(ONE_THREAD)
        first.close()  # two predictions side by side end in any order
        assert set(most()) == {1}
        second.close()
        assert most() == before == [2] * len(before)
