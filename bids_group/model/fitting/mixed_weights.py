"""What weighs the tables of a mixed model: φ_j and log|H|, with their derivatives by the relative covariance.

X'H⁻¹X = Σ_j φ_j M_j (`mixed_plan`). The parameters are λ, the variance of one random effect over the residual
one; (Λ₁₁, Λ₁₂, Λ₂₂) of two; and a and b, of inner groups and of outer ones. φ of X'X within groups is 1.

One effect, with g = Z_i'Z_i and d = 1/(1 + g λ): φ = d/g, and log|H| = −Σ log d.

Two, with G = Z_i'Z_i, R = (I + G Λ)⁻¹ and F = R G: φ are the entries of D = R'G⁻, whose derivatives are
−R'ER by E and R'(E F E' + E' F E)R by E and E'; those of log|H| are Σ tr(F E) and −Σ tr(F E F E').

Groups within groups: a for the inner ones, as above with g = n, their rows. With w = Σ n d over the inner
groups of an outer one, Woodbury's identity once more gives

    X'H⁻¹X = X'X within inner groups + Σ d X̄'X̄ / n − Σ b/(1 + b w) (Σ d X̄)'(Σ d X̄),

X̄ the sums of X over the rows of an inner group, and log|H| = Σ log(1 + a n) + Σ log(1 + b w).
"""

from __future__ import annotations

import numpy as np

from bids_group.compiled import compiled, written_out
from bids_group.model.fitting.least_squares import Doubles
from bids_group.model.fitting.mixed_plan import Tables


@compiled(error_model="numpy")
def second(r: int, s: int, n_parameters: int) -> int:
    """Row of the second derivative by parameters r and s; 0 is the function, 1 + r the derivative by r."""
    return 1 + n_parameters + max(r, s) * (max(r, s) + 1) // 2 + min(r, s)


@compiled(error_model="numpy")
def weigh(at: Doubles, tables: Tables, weights: Doubles, logs: Doubles) -> None:
    """Fill ``weights`` ``(rows, J)`` with φ and its derivatives, ``logs`` ``(rows,)`` with log|H| and its."""
    weights[:] = 0
    logs[:] = 0
    weights[0, 0] = 1
    if at.size == 3:
        for k in range(tables.counts.size):
            _weigh_pair(
                at, tables.gram[k], tables.inverse[k], tables.counts[k], weights[:, 1 + 3 * k :], logs
            )
        return
    for k in range(tables.counts.size):
        size, count, last = tables.gram[k, 0, 0], tables.counts[k], 1 + at.size
        d = 1 / (1 + at[0] * size)
        weights[0, 1 + k], weights[1, 1 + k] = d * tables.inverse[k, 0, 0], -d * d
        weights[last, 1 + k] = 2 * size * d**3
        logs[0] -= count * np.log(d)
        logs[1] += count * size * d
        logs[last] -= count * (size * d) ** 2
    if at.size == 2:
        _weigh_outer(at[1], tables, weights, logs)


@written_out(error_model="numpy")
def _weigh_outer(b: float, tables: Tables, weights: Doubles, logs: Doubles) -> None:
    """Add the outer groups; rows are the function, by a, by b, by aa, ab and bb."""
    n_classes, last = tables.counts.size, -1
    u = u_a = u_b = u_aa = u_ab = u_bb = 0.0
    for place in range(tables.pairs.shape[0]):
        kind, left, right = tables.pairs[place, 0], 1 + tables.pairs[place, 1], 1 + tables.pairs[place, 2]
        if kind != last:
            last, count = kind, tables.kinds[kind]
            w = w_a = w_aa = 0.0
            for k in range(n_classes):
                squared = tables.members[kind, k] * tables.gram[k, 0, 0] ** 2
                w += squared * weights[0, 1 + k]
                w_a += squared * weights[1, 1 + k]
                w_aa += squared * weights[3, 1 + k]
            shrunk = 1 / (1 + b * w)
            u, own = b * shrunk, w * shrunk
            logs[0] -= count * np.log(shrunk)
            logs[1] += count * u * w_a
            logs[2] += count * own
            logs[3] += count * (u * w_aa - (u * w_a) ** 2)
            logs[4] += count * shrunk**2 * w_a
            logs[5] -= count * own**2
            u_a, u_b = -u * u * w_a, shrunk**2
            u_aa, u_ab, u_bb = (
                2 * u**3 * w_a**2 - u * u * w_aa,
                -2 * u * shrunk**2 * w_a,
                -2 * own * shrunk**2,
            )
        f, f_a, f_aa = weights[0, left], weights[1, left], weights[3, left]
        g, g_a, g_aa = weights[0, right], weights[1, right], weights[3, right]
        by = -tables.gram[left - 1, 0, 0] * tables.gram[right - 1, 0, 0]
        both, both_a, both_aa = (
            by * f * g,
            by * (f_a * g + f * g_a),
            by * (f_aa * g + 2 * f_a * g_a + f * g_aa),
        )
        at = 1 + n_classes + place
        weights[0, at], weights[1, at], weights[2, at] = u * both, u_a * both + u * both_a, u_b * both
        weights[3, at] = u_aa * both + 2 * u_a * both_a + u * both_aa
        weights[4, at], weights[5, at] = u_ab * both + u_b * both_a, u_bb * both


@compiled(error_model="numpy")
def _weigh_pair(
    at: Doubles, gram: Doubles, inverse: Doubles, count: float, weights: Doubles, logs: Doubles
) -> None:
    """Fill the weights of a class, whose tables are those of 11, 12 + 21 and 22."""
    g1, g2, g3 = gram[0, 0], gram[0, 1], gram[1, 1]
    r11, r12 = 1 + g2 * at[1] + g3 * at[2], -g1 * at[1] - g2 * at[2]
    r21, r22 = -g2 * at[0] - g3 * at[1], 1 + g1 * at[0] + g2 * at[1]
    by = 1 / (r11 * r22 - r12 * r21)
    r11, r12, r21, r22 = r11 * by, r12 * by, r21 * by, r22 * by
    i1, i2, i3 = inverse[0, 0], inverse[0, 1], inverse[1, 1]
    weights[0, 0], weights[0, 2] = r11 * i1 + r21 * i2, r12 * i2 + r22 * i3
    weights[0, 1] = 0.5 * (r11 * i2 + r21 * i3 + r12 * i1 + r22 * i2)
    logs[0] -= count * np.log(by)
    f1, f2, f3 = r11 * g1 + r12 * g2, r11 * g2 + r12 * g3, r21 * g2 + r22 * g3
    first = (f1, 2 * f2, f3)  # tr(F E), by parameter
    turned = (  # R'ER
        (r11 * r11, r11 * r12, r12 * r12),
        (2 * r11 * r21, r11 * r22 + r12 * r21, 2 * r12 * r22),
        (r21 * r21, r21 * r22, r22 * r22),
    )
    both = (  # E F E' + E' F E, by pair of parameters
        (2 * f1, 0.0, 0.0), (2 * f2, f1, 0.0), (2 * f3, 2 * f2, 2 * f1),
        (0.0, f2, 0.0), (0.0, f3, 2 * f2), (0.0, 0.0, 2 * f3),
    )  # fmt: skip
    for r in range(3):
        logs[1 + r] += count * first[r]
        for entry in range(3):
            weights[1 + r, entry] = -turned[r][entry]
    for pair in range(6):
        m1, m2, m3 = both[pair]
        logs[4 + pair] -= 0.5 * count * (m1 * f1 + 2 * m2 * f2 + m3 * f3)
        for entry in range(3):
            weights[4 + pair, entry] = m1 * turned[0][entry] + m2 * turned[1][entry] + m3 * turned[2][entry]
