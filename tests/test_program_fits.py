"""F-VI and A-VI of anyone's program, against the certified optima and closed forms of programs that have them."""

from functools import cache

import graphs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avigap import bind, factorized, models, simulate
from avigap.amortized import evaluate, fit_functions
from avigap.condition.check import check_condition
from avigap.elbo import monte_carlo
from avigap.errors import InputError
from avigap.factorized import fit_target
from avigap.families import build
from avigap.gap import fit_amortized
from avigap.inputs import inputs_of
from avigap.nodes import Nodes, cubature, sobol, supports
from avigap.optimum import fit_factorized
from avigap.program.arguments import bind_program
from avigap.settings import check_settings
from avigap.starts import DEFAULTS, Problem
from avigap.target import Target

LINEAR = {"tau": 1.155, "sigma": 2.43}


def of_model(name, num_obs, **settings):
    """Return a model of the package as its own joint, with data, and as anyone's program with the same data."""
    model = models.load(name)
    full = check_settings(name, model.program, settings)
    x, _ = simulate(model, full, num_obs, jax.random.key(1))

    def program(x=None):
        return model.program(x, num_obs=num_obs, **full)

    bound = bind_program(program, {}, {"x": np.asarray(x)}, None, model.local)
    return bind(model, full), x, Nodes(Target(bound))


def of_graph(program, **columns):
    """Return nodes and verdict of one of the small programs."""
    bound = bind_program(program, {}, columns, None)
    verdict = check_condition(bind_program(program, {}, columns, 6), 6)
    return Nodes(Target(bound, verdict.local_names)), verdict


@pytest.mark.parametrize(
    ("name", "settings", "dimension"), [("linear", LINEAR, 2), ("saw", {"alpha": 0.75}, 2), ("hmm", {}, 2)]
)
def test_quadratic_optimum_equals_the_certified_one(name, settings, dimension):
    joint, x, nodes = of_model(name, 12, **settings)
    ours, reference = fit_target(nodes), fit_factorized(joint, x)
    assert nodes.estimator == "quadratic"
    assert nodes.dimension == dimension
    assert ours.is_certified
    assert ours.status == "converged"
    assert ours.elbo == pytest.approx(reference.fit.elbo, abs=1e-10)
    q = nodes.target.mean_field(ours.q[0], np.exp(ours.q[1]))
    for site, loc in reference.fit.q.loc.items():
        np.testing.assert_allclose(q.loc[site], loc, atol=1e-6)
        np.testing.assert_allclose(q.scale[site], reference.fit.q.scale[site], rtol=1e-7)


@pytest.mark.parametrize(("name", "offsets"), [("hmm", (-1, 0, 1)), ("saw", (0,)), ("saw", (-1, 0))])
def test_window_gap_equals_the_exact_one(name, offsets):
    joint, x, nodes = of_model(name, 12)
    family = build({"kind": "polynomial", "inputs": list(offsets)})
    exact = fit_amortized(Problem(joint, x, fit_factorized(joint, x).fit.q), family, jax.random.key(0))
    seen = inputs_of(nodes.target, yes(nodes), offsets)
    found = fit_functions(nodes, fit_target(nodes).q, family, seen, jax.random.key(0), DEFAULTS)
    assert found.status == "converged"
    assert found.best.gap == pytest.approx(exact.best.gap, abs=1e-8)
    assert seen[0].edge.sum() == (2 if name == "hmm" else 0)
    assert (found.best.gap < 1e-9) == ((name, offsets) == ("saw", (-1, 0)))


def test_nonlinear_optimum_is_certified_and_its_elbo_that_of_numpyro():
    joint, x, nodes = of_model("nonlinear", 5)
    ours, reference = fit_target(nodes), fit_factorized(joint, x)
    assert nodes.estimator == "gauss_hermite"
    assert ours.is_certified
    assert nodes.elbo(ours.q, nodes.fresh_rules()[-1]) == pytest.approx(reference.elbo_finer, abs=1e-4)
    q = nodes.target.mean_field(ours.q[0], np.exp(ours.q[1]))
    value, error = monte_carlo(joint, x, q, jax.random.key(2))
    assert abs(value - ours.elbo) < 4 * error
    constant = fit_functions(
        nodes, ours.q, build({"kind": "constant"}), inputs_of(nodes.target, yes(nodes)), jax.random.key(0), DEFAULTS
    )
    exact = fit_amortized(Problem(joint, x, reference.fit.q), build({"kind": "constant"}), jax.random.key(0))
    assert constant.best.gap == pytest.approx(exact.best.gap, abs=1e-4)
    assert constant.inputs == ("nothing",)


@cache
def yes_of_counts():
    return check_condition(bind_program(graphs.counts, {}, {}, 6), 6)


def yes(nodes):
    """Return the verdict of a simple hierarchical model."""
    return yes_of_counts()._replace(local=list(nodes.target.places.local))


@pytest.mark.parametrize(
    ("program", "rows", "colours"),
    [(graphs.counts, 12, 1), (graphs.autoregression, 12, 2), (graphs.dense, 8, 8), (graphs.pairs, 12, 2)],
)
def test_units_of_one_colour_are_not_coupled(program, rows, colours):
    drawn = bind_program(program, {}, {}, rows)
    _, data = drawn.simulate(drawn.arguments(rows), jax.random.key(0))
    columns = {name: np.asarray(value) for name, value in data.items()}
    target = Target(bind_program(program, {}, columns, None))
    nodes = Nodes(target)
    assert nodes.dimension == len(target.shared) + colours * sum(len(kind.elements) for kind in target.kinds)


def test_rules_integrate_what_they_claim():
    """Third-degree points are exact for quadratics; whitened Sobol points for them too, in any scramble."""
    random = np.random.default_rng(0)
    matrix, vector = random.standard_normal((5, 5)), random.standard_normal(5)

    def quadratic(points):
        return np.einsum("mi,ij,mj->m", points, matrix, points) + points @ vector

    for rule in (cubature(5), sobol(5, 0), sobol(5, 1)):
        assert rule.weights.sum() == pytest.approx(1)
        assert rule.weights @ quadratic(rule.points) == pytest.approx(np.trace(matrix))


def test_monte_carlo_gap_has_an_error_that_covers_quadrature():
    """The same q of a program with three dimensions, by the tensor rule and by points that no fit has seen."""
    sigma = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    nodes, verdict = of_graph(graphs.schools, y=np.array([28.0, 8, -3, 7, -1, 1, 18, 12]), sigma=sigma)
    assert nodes.estimator == "gauss_hermite"
    best = fit_target(nodes)
    fit = fit_functions(
        *(nodes, best.q, build({"kind": "polynomial"}), inputs_of(nodes.target, verdict), jax.random.key(0), DEFAULTS)
    )
    exact = evaluate(nodes, best.q, fit.q)
    nodes.estimator = "monte_carlo"
    sampled = evaluate(nodes, best.q, fit.q)
    assert exact.gap > 0.01
    assert exact.gap_error < 1e-6 < sampled.gap_error
    assert abs(exact.gap - sampled.gap) < 3 * sampled.gap_error
    moved = best.q + np.array([0.1 * np.exp(best.q[1]), 0 * best.q[1]])
    lost = nodes.fresh_elbo(best.q) - nodes.fresh_elbo(moved)
    assert nodes.excess(best.q) < 0.1 * lost < nodes.excess(moved)
    nodes.excess = lambda q: 5.0
    assert evaluate(nodes, best.q, fit.q).gap_error == pytest.approx(sampled.gap_error + 5.0, abs=1e-2)
    assert supports("monte_carlo", nodes).ok


def test_rows_of_a_group_enter_pooled_and_close_the_gap():
    """Balanced random intercepts: the factor of a group is affine in the means of its rows."""
    random = np.random.default_rng(0)
    group, t = np.repeat(np.arange(6), 4), random.standard_normal(24)
    y = random.standard_normal(6)[group] + 0.5 * t + random.standard_normal(24)
    nodes, verdict = of_graph(graphs.intercepts, y=y, t=t, group=group)
    seen = inputs_of(nodes.target, verdict)[0]
    assert verdict.group == "groups"
    assert {"mean y", "mean t", "mean y y"} <= set(seen.names) and not any("group" in name for name in seen.names)
    means = np.array([y[group == g].mean() for g in range(6)])
    assert np.abs(seen.values - ((means - means.mean()) / means.std())[:, None]).max(axis=0).min() < 1e-9
    best = fit_target(nodes)
    fits = {
        kind: fit_functions(
            *(nodes, best.q, build({"kind": kind}), [seen], jax.random.key(0), DEFAULTS),
        )
        for kind in ("constant", "polynomial")
    }
    assert fits["constant"].best.gap > 0.5
    assert abs(fits["polynomial"].best.gap) < 1e-7


def test_a_climb_that_has_not_converged_certifies_nothing(monkeypatch):
    _, _, nodes = of_model("linear", 6, **LINEAR)
    stopped = factorized.climb
    monkeypatch.setattr(factorized, "climb", lambda *args: stopped(*args)._replace(status="max_steps"))
    found = fit_target(nodes)
    assert not found.is_certified
    assert found.evidence.startswith("not converged")


def test_the_index_is_an_input_where_the_verdict_asks_for_it():
    nodes, verdict = of_graph(graphs.by_index, x=np.arange(8.0) ** 2)
    assert verdict.needs_index
    assert inputs_of(nodes.target, verdict)[0].names == ("x_n", "n")


def test_a_covariate_is_seen_where_it_acts():
    """Its row before that of a position: the factor's loc is (rain_(n-1) + y_n) / 2, and position 0 is an edge."""
    random = np.random.default_rng(1)
    nodes, verdict = of_graph(graphs.lagged, y=random.standard_normal(12), rain=random.standard_normal(12))
    seen = inputs_of(nodes.target, verdict)
    assert set(seen[0].names) == {"y_n", "rain_(n-1)"}
    assert np.flatnonzero(seen[0].edge).tolist() == [0]
    best = fit_target(nodes)
    fit = fit_functions(nodes, best.q, build({"kind": "polynomial"}), seen, jax.random.key(0), DEFAULTS)
    assert abs(fit.best.gap) < 1e-9


def test_vector_latents_have_a_function_for_each_element():
    random = np.random.default_rng(0)
    drawn = bind_program(graphs.factors, {}, {}, 12)
    _, data = drawn.simulate(drawn.arguments(12), jax.random.key(0))
    columns = {name: np.asarray(value) + 0 * random.random() for name, value in data.items()}
    nodes, verdict = of_graph(graphs.factors, **columns)
    depth = len(nodes.target.kinds[0].elements)
    best = fit_target(nodes, starts=1)
    fit = fit_functions(
        *(nodes, best.q, build({"kind": "polynomial"}), inputs_of(nodes.target, verdict), jax.random.key(0), DEFAULTS)
    )
    assert depth > 1
    assert fit.num_params == depth * (2 + inputs_of(nodes.target, verdict)[0].values.shape[1])
    assert fit.best.gap > -3 * fit.best.gap_error - 1e-3


def test_windows_wider_than_the_data_and_missing_observations_are_refused():
    _, _, nodes = of_model("hmm", 4)
    with pytest.raises(InputError, match="wider than the data"):
        inputs_of(nodes.target, yes(nodes), (-4, 0))
    bound = bind_program(graphs.counts, {}, {}, 6)
    with pytest.raises(InputError, match="lack the observations"):
        Target(bound._replace(columns={}))
    negative = bind_program(graphs.counts, {}, {"y": np.array([3, 1, -2, 4])}, None)
    with pytest.raises(InputError, match=r"value 2 .* 'y' is outside the support of Poisson"):
        Target(negative)


def test_a_value_that_is_not_finite_is_no_optimum():
    """The climb turns away from where the log joint is not finite, and says so if it is finite nowhere."""
    bound = bind_program(graphs.counts, {}, {}, 6)
    _, data = bound.simulate(bound.arguments(6), jax.random.key(0))
    nodes = Nodes(Target(bind_program(graphs.counts, {}, {n: np.asarray(v) for n, v in data.items()}, None)))
    nodes.target.log_joint = lambda flat, data=None: jnp.nan * flat.sum()
    assert fit_target(nodes).status == "nonfinite"
