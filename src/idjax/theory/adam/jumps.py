"""Adam over millions of steps: its recursion where v still moves, jumps with v in balance from then on.

The first steps are iterated for every output (`adam.run`): v rings, and nothing shortens that. Then outputs whose v is
alike are averaged, in ever fewer groups. At last v only drifts. While its preconditioner P is held, Adam is the heavy
ball on P^½ M P^½, which `horizons.advance` takes over any number of steps; the v at the end of a jump is the one
that the gradients there keep up, found by Broyden's method. See docs/theory.md, section 12.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.interpolate
from jaxtyping import Array, Float

from idjax.theory.adam import recursion as adam
from idjax.theory.adam.recursion import Form, Inputs, Rule, State
from idjax.theory.sgd import horizons, mean_square, minibatch

CHUNKS = (512, 64, 8, 1)
"""Steps of the compiled pieces that any number of steps is made of."""
SETTLE = 1024
"""Steps at the end of a jump that are taken with the P of its end, so that fast modes are in balance with it."""
LONGEST = 0.12
"""Steps of a jump over the steps before it."""
DRIFT = 0.08
"""Change of log v that a jump may span."""
WORTHWHILE = 4096
"""Jumps shorter than this are iterated: one costs as much as about 2,000 steps of one state."""
TYPICALLY_ALONE, TYPICAL_JUMPS = 25, 50
"""Memories that all outputs are followed, and jumps of a group: how much work to expect."""
TOLERANCE = 2e-3
"""Of log P⁻² at the end of a jump."""
SETTLED = 1e-3
"""Of loss, forms and log P⁻²: the change in the rest of a run, at the present pace, that is no change."""
NOTHING = 1e-12
"""Share of the loss at the start below which a run is not followed: float32 training stops long before."""


class Plan(NamedTuple):
    """How long all outputs, then groups of them, are iterated, in multiples of the memory 1/(1 - β₂).

    All outputs for at least `alone`, and until the loss falls by less than `quiet` within a memory, or until P hardly
    moves, by less than `held`, for v is small beside ε; groups of them until `grouped`. A group's outputs differ by at
    most `width` in the mean of log P⁻², so by half of it in how fast they learn; the width grows where there would be
    more groups than `groups`, and once more for at most `jumping` of them to go on from there, each alone. Runs that
    take less than `seconds` are iterated to the end for every output.
    """

    alone: float = 4.0
    quiet: float = 0.05
    held: float = 0.005
    grouped: float = 20.0
    width: float = 0.02
    groups: int = 16
    jumping: int = 4
    seconds: float = 60.0


class Forecast(NamedTuple):
    """The excess loss Σ_j ω_j/q tr(M C_j) at each record.

    mean: over the updates since the record before, each before it is made.  end: at the record.
    forms: Σ_j share_j (tr(Q C_j) + 2 slope_jᵀ E[e_j]) at the record, for every form (k, records).
    errors: E[e] at the last record (n, q), if every output was followed to it.
    verdict: from which step on the numbers do not describe one run, and why, if they do not.
    """

    mean: Float[np.ndarray, " r"]
    end: Float[np.ndarray, " r"]
    forms: Float[np.ndarray, "k r"]
    errors: Float[np.ndarray, "n q"] | None
    verdict: tuple[float, str] | None


class _Track(NamedTuple):
    """What has been seen so far: steps, loss there, forms there (k,), and the sum of the losses of the steps before.

    chance is the share of the loss that is not that of E[e], and differs from run to run.
    """

    steps: list[float]
    loss: list[float]
    forms: list[np.ndarray]
    total: list[float]
    chance: list[float]


def follow(
    rule: Rule,
    inputs: Inputs,
    errors: Float[Array, "n q"],
    learning_rate: float | Callable[[Array], Array],
    records: Float[np.ndarray, " r"],
    forms: Float[np.ndarray, "k n n"],
    shares: Float[np.ndarray, "k q"],
    slopes: Float[np.ndarray, "k n q"],
    *,
    form: Form = "adam",
    plan: Plan = Plan(),  # noqa: B008 (immutable)
    progress: Callable[[float], None] = lambda _: None,
) -> Forecast:
    """The expected loss at the steps of `records` (whole, ascending); progress hears the share of the work done.

    Each form has its own shares of the outputs and, until these are averaged, slopes along E[e]. Range: outputs of
    unequal gain are not averaged. Jumps are for adam without weight decay; other rules are iterated to the end.
    """
    memory = 1 / (1 - float(rule.beta_2))
    state, weights = adam.initial_state(errors, first_moments=True), np.asarray(inputs.gain) / 2
    if inputs.optimum is None:
        inputs = inputs._replace(optimum=jnp.zeros_like(errors.T))
    quick = float(records[-1]) * seconds_a_step(*errors.shape) <= plan.seconds
    alike = form == "adam" and float(rule.weight_decay) == 0 and np.ptp(np.asarray(inputs.gain)) == 0
    spent = _tally(progress, errors.shape[1], float(records[-1]), memory if alike and not quick else np.inf, plan)
    together = _Run(rule, inputs, learning_rate, form, records, (forms, slopes), state, weights, shares, spent)
    if quick:
        together.iterate(np.inf)
    loss, size, moving = np.inf, np.zeros(()), True
    while together.left and moving:
        together.iterate(float(together.state.step) + memory)
        loss_before, loss = loss, together.track.loss[-1]
        size_before, size = size, together.log_size()
        early = float(together.state.step) < plan.alone * memory
        falling = early or loss < (1 - plan.quiet) * loss_before
        moving = falling and bool(np.max(np.mean(np.abs(size - size_before), axis=-1)) > 2 * plan.held)
    runs = []
    if together.left:
        if alike:
            together.group(plan)
        together.iterate(plan.grouped * memory if alike else np.inf)
        if alike and together.left:
            together.group(plan._replace(groups=plan.jumping))
        runs = together.apart() if together.left else []
    for run in runs:
        run.jump()
    return _forecast(together, runs, memory)


def _tally(
    progress: Callable[[float], None], outputs: int, steps: float, memory: float, plan: Plan
) -> Callable[[int], None]:
    """What hears of work done, in steps of one output, and passes on its share of what is expected in all."""
    expected = outputs * min(steps, TYPICALLY_ALONE * memory)
    if np.isfinite(memory):
        expected += plan.groups * plan.grouped * memory + plan.jumping * TYPICAL_JUMPS * WORTHWHILE
    done = 0.0

    def spent(work: int) -> None:
        nonlocal done
        done += work
        progress(min(done / expected, 0.99))

    return spent


def seconds_a_step(n: int, outputs: int) -> float:
    """About what one step of the recursion takes on two cores."""
    return 2e-5 + 2e-10 * outputs * n**3


def _forecast(together: "_Run", runs: list["_Run"], memory: float) -> Forecast:
    """What was seen of all outputs together, and after that of each group, at the records."""
    seen = together.read()
    verdict = _verdict(together.track, memory)
    if not runs:
        mean = np.diff(seen.mean, prepend=0.0) / np.diff(together.records, prepend=0.0)
        return seen._replace(mean=mean, verdict=verdict)
    before = together.records <= together.track.steps[-1]
    later = [run.read() for run in runs]

    def joined(first: np.ndarray, rest: list[np.ndarray]) -> np.ndarray:
        return np.where(before, first, np.sum(rest, axis=0))

    # The sums of losses are whole: the groups go on from the share that each had of the common one.
    total = joined(seen.mean, [one.mean for one in later])
    return Forecast(
        np.diff(total, prepend=0.0) / np.diff(together.records, prepend=0.0),
        joined(seen.end, [one.end for one in later]),
        joined(seen.forms, [one.forms for one in later]),
        None,
        verdict,
    )


def _verdict(track: _Track, memory: float) -> tuple[float, str] | None:
    """From where on v, taken for its expectation, is not that of one run; docs/theory.md, section 12."""
    steps, log = np.array(track.steps), np.log(np.maximum(track.loss, np.finfo(float).tiny))
    later = np.interp(steps + memory, steps, log)
    fast = (log - later > np.log(10)) & (steps + memory <= steps[-1])
    # What falls alike in every run is no matter.
    falls = np.flatnonzero(fast & (np.array(track.chance) > 0.5))
    if len(falls):
        return float(steps[falls[0]]), f"the loss falls tenfold within {memory:,.0f} steps, faster than v follows"
    # A loss that has settled drifts; it oscillates where it rises and falls by much more than once.
    late = steps >= 5 * memory
    turns = np.diff(log[late])
    big = np.sign(turns) * (np.abs(turns) > np.log(1.5))
    signs = big[big != 0]
    if np.count_nonzero(np.diff(signs)) > 3:
        return 5 * memory, "v and the loss oscillate"
    return None


class _Run:
    """A run of some outputs so far: its state and what was seen of it; the parts of `follow`, one method each."""

    def __init__(
        self,
        rule: Rule,
        inputs: Inputs,
        rate: float | Callable[[Array], Array],
        form: Form,
        records: np.ndarray,
        forms: tuple[np.ndarray, np.ndarray],
        state: State,
        weights: np.ndarray,
        shares: np.ndarray,
        spent: Callable[[int], None],
    ):
        self.rule, self.inputs, self.rate = rule, inputs, rate
        self.form: Form = form
        self.records, self.forms, self.spent = records, forms, spent
        self.state, self.weights, self.shares = state, weights, shares
        self.track = _Track([], [], [], [], [])
        self.totals = np.zeros(len(weights))
        self.see()

    @property
    def left(self) -> bool:
        """Whether records are still to come, and anything is left to learn."""
        spent = self.track.loss[-1] <= NOTHING * self.track.loss[0]
        return bool(self.track.steps[-1] < self.records[-1]) and not spent

    def log_size(self) -> np.ndarray:
        """log P⁻² of every output and input: log v, where ε does not count and the start is long ago."""
        factors = adam._factors(self.rule, self.form, jnp.maximum(self.state.step, 1.0))
        return 2 * np.log(np.asarray(factors.scale * jnp.sqrt(self.state.v) + factors.epsilon))

    def see(self) -> None:
        """Notes the loss and the forms of the present state."""
        level = np.asarray(adam.level(self.inputs, self.state))
        traces = np.asarray(jnp.einsum("kij,gij->kg", self.forms[0], self.state.ee))
        if self.state.e is not None:
            traces = traces + 2 * np.einsum("kng,gn->kg", self.forms[1], np.asarray(self.state.e))
        self.track.steps.append(float(self.state.step))
        self.track.loss.append(float(self.weights @ level))
        self.track.forms.append(np.sum(self.shares * traces, axis=1))
        self.track.total.append(float(self.totals.sum()))
        sure = 0.0
        if self.state.e is not None:
            sure = float(
                self.weights @ jnp.einsum("gi,ij,gj->g", self.state.e, self.inputs.second_moment, self.state.e)
            )
        self.track.chance.append(1 - sure / max(self.track.loss[-1], np.finfo(float).tiny))

    def iterate(self, until: float) -> None:
        """Takes every step up to `until` or the last record, and stops at each record on the way."""
        end = min(until, float(self.records[-1]))
        while self.left and float(self.state.step) < end:
            step = float(self.state.step)
            ahead = self.records[self.records > step]
            stop = min(end, float(ahead[0])) if len(ahead) else end
            length = next(chunk for chunk in CHUNKS if chunk <= max(stop - step, 1))
            self.state, seen = adam.run(self.rule, self.inputs, self.state, self.rate, length, length, self.form)
            self.totals = self.totals + length * self.weights * np.asarray(seen.mean[0])
            self.see()
            self.spent(length * len(self.weights))

    def group(self, plan: Plan) -> None:
        """Averages the outputs into groups of like P."""
        size = np.mean(self.log_size(), axis=1)
        order = np.argsort(size)
        width = max(plan.width, float(np.ptp(size)) / (plan.groups - 0.5))
        bins = ((size - size.min()) / width).astype(int)
        members = [order[bins[order] == bin] for bin in np.unique(bins)]
        if len(size) <= plan.groups:
            members = [np.array([k]) for k in range(len(size))]

        def mean(moments: Array) -> Array:
            shares = [self.weights[part] / self.weights[part].sum() for part in members]
            parts = zip(shares, members, strict=True)
            return jnp.stack([jnp.tensordot(jnp.asarray(share), moments[part], 1) for share, part in parts])

        def total(values: np.ndarray) -> np.ndarray:
            return np.stack([values[..., part].sum(axis=-1) for part in members], axis=-1)

        ee, em, mm, v, step, *_ = self.state
        self.state = State(mean(ee), mean(em), mean(mm), mean(v), step)
        self.inputs = self.inputs._replace(
            gain=mean(jnp.asarray(self.inputs.gain)), noise=mean(jnp.asarray(self.inputs.noise)), optimum=None
        )
        self.weights, self.shares, self.totals = total(self.weights), total(self.shares), total(self.totals)

    def apart(self) -> list["_Run"]:
        """Each group as a run of its own from here."""
        runs = []
        for k in range(len(self.weights)):
            part = slice(k, k + 1)
            ee, em, mm, v, step, *_ = self.state
            run = _Run(
                self.rule,
                self.inputs._replace(gain=self.inputs.gain[part], noise=self.inputs.noise[part]),
                self.rate,
                self.form,
                self.records,
                self.forms,
                State(ee[part], em[part], mm[part], v[part], step),
                self.weights[part],
                self.shares[:, part],
                self.spent,
            )
            run.totals = self.totals[part]
            run.track.total[0] = float(self.totals[k])
            runs.append(run)
        return runs

    def jump(self) -> None:
        """Jumps to the last record where v drifts slowly, and iterates where it does not."""
        memory = 1 / (1 - float(self.rule.beta_2))
        last = float(self.records[-1])
        log_v, size = self._log_v(), self.log_size()
        trend, steepest = np.zeros(self.state.v.shape[1]), 0.0
        failed_at = 0.0
        while self.left:
            step = float(self.state.step)
            length = int(min(LONGEST * step, DRIFT / steepest if steepest else 0.0, last - step))
            found = None
            if length >= WORTHWHILE and step > 1.2 * failed_at:
                found = _balance(self, length, log_v, log_v + trend * length, memory)
                failed_at = 0.0 if found else step
            if found:
                self.state, total = found
                self.totals = self.totals + self.weights * total
                self.see()
                self.spent(WORTHWHILE)
            else:
                length = int(min(2048, last - step))
                self.iterate(step + length)
            before, log_v = log_v, self._log_v()
            size_before, size = size, self.log_size()
            if self.left and not found and self._settled(size - size_before, length):
                self.stay()
            trend, steepest = (log_v - before) / length, float(np.max(np.abs(size - size_before))) / length

    def _settled(self, moved: np.ndarray, length: int) -> bool:
        """Whether no more will come of a constant rate: with P moved by this much in so many steps, now and before.

        At the edge of stability, where only the overshoot is left, a jump's balance is too close to it to be found.
        """
        if callable(self.rate) or len(self.track.steps) < 3:
            return False
        end = self.track.steps[-1]
        pieces = (float(self.records[-1]) - end) / length
        # Two pieces, so that a turning point is not taken for rest.
        first = int(np.searchsorted(self.track.steps, end - 2 * length))
        seen = np.array([[loss, *forms] for loss, forms in zip(self.track.loss, self.track.forms, strict=True)][first:])
        change = np.ptp(seen, axis=0) / np.maximum(np.abs(seen[-1]), np.finfo(float).tiny)
        return bool(max(np.max(change), np.max(np.abs(moved))) * pieces < SETTLED)

    def stay(self) -> None:
        """Takes the state as it is to the last record."""
        left = float(self.records[-1]) - float(self.state.step)
        self.totals = self.totals + left * self.weights * np.asarray(adam.level(self.inputs, self.state))
        self.state = self.state._replace(step=jnp.asarray(float(self.records[-1])))
        self.see()

    def _log_v(self) -> np.ndarray:
        return _log(np.asarray(self.state.v[0]))

    def read(self) -> Forecast:
        """What was seen, at the records; in place of the means the sums of all losses so far."""
        steps, records = np.array(self.track.steps), self.records

        def between(values: np.ndarray) -> np.ndarray:
            if len(steps) == 1:
                return np.full(len(records), values[0])
            # Beyond what was seen a run's values are not used. Slopes can make a form negative.
            inside = np.log1p(np.clip(records, steps[0], steps[-1]))
            if np.min(values) <= 0:
                return scipy.interpolate.PchipInterpolator(np.log1p(steps), values)(inside)
            return np.exp(scipy.interpolate.PchipInterpolator(np.log1p(steps), np.log(values))(inside))

        total = scipy.interpolate.PchipInterpolator(steps, self.track.total)(np.clip(records, steps[0], steps[-1]))
        forms = np.stack([between(values) for values in np.array(self.track.forms).T])
        errors = None if self.state.e is None else np.asarray(self.state.e).T
        return Forecast(total, between(np.array(self.track.loss)), forms, errors, None)


def _balance(
    run: _Run, length: int, before: np.ndarray, guess: np.ndarray, memory: float
) -> tuple[State, float] | None:
    """The state after a jump and the sum of its losses; None if no v keeps itself up."""

    def jumped(after: np.ndarray) -> tuple[State, float, np.ndarray] | None:
        # log v moves evenly from before to after; this is its value halfway through the first part.
        middle = before + (after - before) * (length - SETTLE) / (2 * length)
        first = _held(run, run.state, middle, length - SETTLE)
        if first is None:
            return None
        second = _held(run, first[0], after, SETTLE)
        if second is None:
            return None
        moment = np.asarray(adam.gradient_moment(run.inputs, second[0].ee))[0]
        kept = _log(np.diagonal(moment))
        # v lags behind what keeps it up by its memory.
        lag = -np.expm1(-length / memory) * memory / length
        state = second[0]._replace(v=jnp.exp(jnp.asarray(after))[None])
        return state, first[1] + second[1], kept + lag * (before - kept)

    u = _stable(run, guess)
    found = jumped(u)
    if found is None:
        return None
    residual = found[2] - u
    # Scaling v as a whole is the stiff direction: one more jump shows how it answers.
    nudge = 1e-3
    other = jumped(u + nudge)
    if other is None:
        return None
    answer = (other[2] - u - nudge - residual) / nudge
    jacobian = -np.eye(len(u)) + np.outer(answer + 1, np.full(len(u), 1 / len(u)))
    for _ in range(30):
        # What v counts beside ε.
        root = np.exp(u / 2)
        if np.max(np.abs(residual) * root / (root + float(run.rule.epsilon))) < TOLERANCE:
            return found[0], found[1]
        change = np.clip(-np.linalg.solve(jacobian, residual), -0.5, 0.5)
        after = _stable(run, u + change)
        trial = jumped(after)
        if trial is None or not np.isfinite(trial[2]).all():
            return None
        change, found = after - u, trial
        moved = found[2] - after - residual
        jacobian += np.outer(moved - jacobian @ change, change) / (change @ change)
        u, residual = after, residual + moved
    return None


def _log(v: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(v, np.finfo(float).tiny))


def _preconditioner(run: _Run, log_v: np.ndarray, step: float) -> np.ndarray:
    """P of this v."""
    factors = adam._factors(run.rule, run.form, jnp.asarray(step))
    return 1 / (np.asarray(factors.scale) * np.exp(log_v / 2) + np.asarray(factors.epsilon))


def _heavy_ball(run: _Run, log_v: np.ndarray) -> tuple[minibatch.Updates, np.ndarray, np.ndarray]:
    """Adam with P held as the heavy ball: its updates, P^½ and the eigenvectors of P^½ M P^½."""
    step = float(run.state.step)
    root = np.sqrt(_preconditioner(run, log_v, step))
    factor = root[:, None] * np.asarray(run.inputs.second_moment) * root
    eigenvalues, vectors = np.linalg.eigh(factor)
    eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1]
    rate = run.rate(jnp.asarray(step)) if callable(run.rate) else run.rate
    beta = float(run.rule.beta_1)
    rule = minibatch.updates(
        eigenvalues,
        vectors.T @ (root * np.asarray(run.inputs.mean)),
        float(run.inputs.batch_size),
        float(rate) * (1 - beta) * float(run.inputs.gain[0]),
        beta,
    )
    return rule, root, vectors


def _stable(run: _Run, log_v: np.ndarray) -> np.ndarray:
    """The same v, raised as a whole until Adam is stable in mean square with it."""
    for _ in range(60):
        if mean_square.growth_is_below(1.0, _heavy_ball(run, log_v)[0]):
            return log_v
        log_v = log_v + 0.02
    return log_v


def _held(run: _Run, state: State, log_v: np.ndarray, length: int) -> tuple[State, float] | None:
    """The state after `length` steps with P held, and the sum of tr(M E) before each of them."""
    rule, root, vectors = _heavy_ball(run, log_v)
    if not mean_square.growth_is_below(1.0, rule):
        return None
    beta, gain = float(run.rule.beta_1), float(run.inputs.gain[0])
    out, back = vectors.T / root, vectors.T * root  # of e and of m
    unit = (1 - beta) * gain
    ee, em, mm = (np.asarray(part[0]) for part in (state.ee, state.em, state.mm))
    second = minibatch.Second(
        jnp.asarray(out @ ee @ out.T), jnp.asarray(out @ em @ back.T / unit), jnp.asarray(back @ mm @ back.T / unit**2)
    )
    form = jnp.diag(rule.eigenvalues)
    second, mean = horizons.advance(rule, second, float(run.inputs.noise[0]), form, length)
    away, home = root[:, None] * vectors, vectors / root[:, None]
    ee, em, mm = (np.asarray(part) for part in second)
    after = State(
        jnp.asarray(away @ ee @ away.T)[None],
        jnp.asarray(away @ em @ home.T * unit)[None],
        jnp.asarray(home @ mm @ home.T * unit**2)[None],
        state.v,
        state.step + length,
    )
    return after, mean * length
