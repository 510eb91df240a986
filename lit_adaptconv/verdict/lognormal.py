"""Times to a target of which many were not reached: a lognormal model of times known to lie between two evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import interpolate, special

from lit_adaptconv.verdict.evidence import HALVINGS, Evidence
from lit_adaptconv.verdict.statistics import Array, Mask

FEWEST_EVENTS = 3
"""Trials that must have reached the target, of both samples together, each at least one."""
LEAST_SPREAD = 0.01
"""Smallest standard deviation of the logarithm that is fitted: times that are all alike do not make it zero."""
NODES = np.array([-16.0, -8, -5, -3.5, -2.5, -1.8, -1.2, -0.6, 0, 0.6, 1.2, 1.8, 2.5, 3.5, 5, 8, 16])
"""Effects at which the likelihood is maximised, in standard errors from the estimate."""
_STEPS = 40


@dataclass(frozen=True)
class Lognormal(Evidence):
    """Ratio of the times of two samples, which are lognormal with one spread, by its profile likelihood.

    Twice the log-likelihood ratio, LR, becomes Student's t as it does where all times are known exactly:
    t² = ν (exp(LR / (ν + 2)) − 1). The degrees of freedom ν are the trials less two, one that was cut off counted half.

    Attributes:
        low: Logarithm of the last time at which a trial had not reached the target, -inf if there is none;
            shape `(rows, n)`, NaN where there is no trial.
        high: Logarithm of the time at which it had; inf if that is not known.
        first: Which trials are of the first sample, same shape; the effect is its mean less the other's.
    """

    low: Array
    high: Array
    first: Mask

    @cached_property
    def _fit(self) -> tuple[Array, Array]:
        columns = np.stack([self.first.astype(np.float64), (~self.first).astype(np.float64)], -1)
        return _maximised(self.low, self.high, np.zeros_like(self.low), columns)

    @cached_property
    def estimate(self) -> Array:  # type: ignore[override]
        """Logarithm of the ratio, shape `(rows,)`."""
        parameters, _ = self._fit
        return np.asarray((parameters[:, 1] - parameters[:, 2]) / parameters[:, 0])

    @cached_property
    def _scale(self) -> Array:
        """A standard error of the logarithm of the ratio, changed a little so that no effect is at a node."""
        reached = np.isfinite(self.high)
        first, second = (np.maximum((reached & of).sum(1), 1) for of in (self.first, ~self.first))
        error = np.sqrt(1 / first + 1 / second) / self._fit[0][:, 0]
        away = -self.estimate / error
        node = NODES[np.abs(away[:, None] - NODES).argmin(1)]
        return np.where(node == 0, error, -self.estimate / np.where(node == 0, 1.0, node))

    @cached_property
    def _freedom(self) -> Array:
        trials, reached = (~np.isnan(self.low)).sum(1), np.isfinite(self.high).sum(1)
        return np.asarray(np.maximum((trials + reached) / 2 - 2.0, 1.0))

    @cached_property
    def _curves(self) -> Array:
        """Student's t of every node, as cubics between them; shape `(4, nodes - 1, rows)`."""
        rows, count = self.low.shape
        effects = self.estimate[:, None] + self._scale[:, None] * NODES
        low, high = (np.repeat(x, len(NODES), 0) for x in (self.low, self.high))
        shift = (self.first[:, None, :] * effects[..., None]).reshape(-1, count)
        _, profile = _maximised(low, high, shift, np.ones((*low.shape, 1)))
        ratio = np.maximum(0.0, 2 * (self._fit[1][:, None] - profile.reshape(rows, -1)))
        freedom = self._freedom[:, None]
        t = -np.sign(NODES) * np.sqrt(freedom * np.expm1(np.minimum(ratio / (freedom + 2), 500.0)))
        t = np.minimum.accumulate(t, 1)
        return np.asarray(interpolate.PchipInterpolator(NODES, t, axis=1).c)

    def _t(self, effect: Array) -> Array:
        place = (np.broadcast_to(effect, self.estimate.shape) - self.estimate) / self._scale
        inside = np.clip(place, NODES[0], NODES[-1])
        piece = np.clip(np.searchsorted(NODES, inside, "right") - 1, 0, len(NODES) - 2)
        x = inside - NODES[piece]
        c = self._curves[:, piece, np.arange(len(piece))]
        return np.asarray(((c[0] * x + c[1]) * x + c[2]) * x + c[3])

    def above(self, effect: Array) -> Array:
        """See `Evidence`."""
        return np.asarray(special.stdtr(self._freedom, -self._t(effect)))

    def below(self, effect: Array) -> Array:
        """See `Evidence`."""
        return np.asarray(special.stdtr(self._freedom, self._t(effect)))

    def ends(self, tail: Array) -> tuple[Array, Array]:
        """See `Evidence`."""
        wanted = np.broadcast_to(-special.stdtrit(self._freedom, tail), self.estimate.shape)
        found = []
        for end, sign in zip(self.range(), (1, -1), strict=True):
            outer, inner = end.copy(), self.estimate.copy()
            beyond = sign * self._t(outer) > wanted
            for _ in range(HALVINGS):
                middle = (outer + inner) / 2
                far = sign * self._t(middle) > wanted
                outer, inner = np.where(far, middle, outer), np.where(far, inner, middle)
            found.append(np.where(beyond, (outer + inner) / 2, -sign * np.inf))
        return found[0], found[1]

    def range(self) -> tuple[Array, Array]:
        """See `Evidence`."""
        return self.estimate + self._scale * NODES[0], self.estimate + self._scale * NODES[-1]


def _maximised(low: Array, high: Array, shift: Array, columns: Array) -> tuple[Array, Array]:
    """Maximise the likelihood over 1 / σ and μ / σ of each column, by Newton's method; it is concave in these.

    Returns:
        The parameters, shape `(rows, 1 + columns)`, and the log-likelihood, shape `(rows,)`.
        Burridge, "Some unimodality properties of likelihoods derived from grouped data", Biometrika 69 (1982).
    """
    known = ~np.isnan(low)
    a, b = np.where(known, low - shift, -np.inf), np.where(known, high - shift, np.inf)
    finite = np.where(np.isfinite(b), b, np.where(np.isfinite(a), a, np.nan))
    weights = np.where(np.isfinite(finite)[..., None], columns, 0.0)
    centre = (np.nan_to_num(finite)[..., None] * weights).sum(1) / np.maximum(weights.sum(1), 1)
    residual = np.where(np.isfinite(finite), finite - (columns * centre[:, None]).sum(-1), np.nan)
    spread = np.sqrt(np.nansum(residual**2, 1) / np.maximum(np.isfinite(residual).sum(1), 1))
    steepness = 1 / np.maximum(spread, 0.05)
    parameters = np.concatenate([steepness[:, None], centre * steepness[:, None]], 1)
    finite_a, finite_b = np.isfinite(a), np.isfinite(b)
    columns_a = np.concatenate([np.where(finite_a, a, 0.0)[..., None], -columns], -1) * finite_a[..., None]
    columns_b = np.concatenate([np.where(finite_b, b, 0.0)[..., None], -columns], -1) * finite_b[..., None]

    def ends(at: Array, rows: Any) -> tuple[Array, Array]:
        low, high = (np.matmul(x[rows], at[..., None])[..., 0] for x in (columns_a, columns_b))
        return np.where(finite_a[rows], low, -np.inf), np.where(finite_b[rows], high, np.inf)

    def likelihood(at: Array, rows: Any) -> Array:
        return np.asarray(np.where(known[rows], _log_difference(*ends(at, rows)), 0.0).sum(1))

    value = likelihood(parameters, slice(None))
    left = np.arange(len(low))
    for _ in range(_STEPS):
        at = parameters[left]
        z_a, z_b = ends(at, left)
        log_p = _log_difference(z_a, z_b)
        has_a, has_b, x_a, x_b = finite_a[left], finite_b[left], columns_a[left], columns_b[left]
        g_a = np.where(has_a, np.exp(_log_density(z_a) - log_p), 0.0)
        g_b = np.where(has_b, np.exp(_log_density(z_b) - log_p), 0.0)
        f_a, f_b = np.where(has_a, z_a, 0.0), np.where(has_b, z_b, 0.0)
        gradient = np.einsum("rn,rnp->rp", g_b, x_b) - np.einsum("rn,rnp->rp", g_a, x_a)
        mixed = np.matmul((x_a * (g_a * g_b)[..., None]).transpose(0, 2, 1), x_b)
        hessian = mixed + mixed.transpose(0, 2, 1)
        for weight, x in ((-f_b * g_b - g_b**2, x_b), (f_a * g_a - g_a**2, x_a)):
            hessian += np.matmul((x * weight[..., None]).transpose(0, 2, 1), x)
        size = np.abs(np.diagonal(hessian, axis1=1, axis2=2)).max(1)[:, None, None] + 1e-9
        direction = np.linalg.solve(1e-9 * size * np.eye(at.shape[1]) - hessian, gradient[..., None])[..., 0]
        scale = np.ones((len(left), 1))
        while True:
            tried = at + scale * direction
            tried[:, 1:] *= np.minimum(1.0, 1 / (LEAST_SPREAD * np.maximum(tried[:, :1], 1e-9)))
            tried[:, 0] = np.clip(tried[:, 0], 1e-6, 1 / LEAST_SPREAD)
            now = likelihood(tried, left)
            worse = ~(now >= value[left] - 1e-12) & (scale[:, 0] > 1e-6)
            if not worse.any():
                break
            scale[worse] /= 4
        gained = now - value[left]
        better = gained > 0
        parameters[left[better]], value[left[better]] = tried[better], now[better]
        left = left[better & (gained > 1e-9)]
        if not len(left):
            break
    return parameters, value


def _log_density(z: Array) -> Array:
    return np.asarray(-0.5 * np.where(np.isfinite(z), z, 0.0) ** 2 - 0.5 * np.log(2 * np.pi))


def _log_difference(a: Array, b: Array) -> Array:
    """log(Φ(b) − Φ(a)), from the nearer tail."""
    flipped = a > 0
    low, high = np.where(flipped, -b, a), np.where(flipped, -a, b)
    log_high = special.log_ndtr(high)
    apart = np.minimum(special.log_ndtr(low) - log_high, -1e-16)
    return np.asarray(log_high + np.log(-np.expm1(apart)))
