"""The example programs and their data: known totals, and programs that score what they simulate."""

from inspect import signature

import jax
import numpy as np
import pytest
import yaml
from programs import ROOT

from avigap.files.table import read_columns
from avigap.loading import load_program
from avigap.program.tracing import draw, is_latent

EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))

LOCAL = {name: ("z",) for name in EXAMPLES} | {"lsat": ("ability",)}


def columns(name):
    return read_columns(ROOT / "examples" / f"{name}.csv", None)[0]


def runs(function, *arguments):
    """Sample sites of runs with some arguments each, and their values and log densities, compiled at once."""
    traces = []

    def run():
        for each in arguments:
            trace, _ = draw(function, each, jax.random.key(1))
            traces.append({name: site for name, site in trace.items() if site["type"] == "sample"})
        return [{n: (s["value"], s["fn"].log_prob(s["value"])) for n, s in trace.items()} for trace in traces]

    return traces, jax.jit(run)()


@pytest.mark.parametrize("name", EXAMPLES)
def test_program_scores_its_data_and_simulates_as_many(name):
    program, _ = load_program(f"{ROOT}/examples/{name}.py:program")
    data, parameters = columns(name), signature(program).parameters.values()
    num_obs = len(next(iter(data.values())))
    number = {"num_obs": num_obs} if "num_obs" in signature(program).parameters else {}
    observed = [parameter.name for parameter in parameters if parameter.default is None]
    assert len(observed) == 1 and all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters)
    blind = data | number | dict.fromkeys(observed)
    (given, simulated), values = runs(program, data | number, blind)
    assert [site for site in given if not is_latent(given[site])] == observed
    assert list(simulated) == list(given) and all(is_latent(site) for site in simulated.values())
    for site in given:
        (value, log_prob), (drawn, log_prob_drawn) = values[0][site], values[1][site]
        assert np.shape(value) == np.shape(drawn)
        assert np.isfinite(log_prob).all() and np.isfinite(log_prob_drawn).all()
    assert all(len(values[0][site][0]) == num_obs for site in (*observed, *LOCAL[name]))
    np.testing.assert_array_equal(values[0][observed[0]][0], data[observed[0]])


def test_every_program_has_data():
    assert EXAMPLES and sorted(path.stem for path in (ROOT / "examples").glob("*.csv")) == EXAMPLES


def test_published_totals():
    schools, tumors, seeds, lip = (columns(n) for n in ("eight_schools", "rat_tumors", "seeds", "lip_cancer"))
    assert (len(schools["y"]), schools["y"].sum(), schools["sigma"].sum()) == (8, 70, 100)
    assert (len(tumors["y"]), tumors["y"].sum(), tumors["total"].sum()) == (71, 267, 1739)
    assert (tumors["y"][-1], tumors["total"][-1]) == (4, 14)
    assert (len(seeds["total"]), seeds["germinated"].sum(), seeds["total"].sum()) == (21, 424, 831)
    assert len(lip["observed"]) == 56 and lip["observed"].sum() == 536
    assert lip["expected"].sum() == pytest.approx(536.2) and set(lip["aff"]) == {0, 1, 7, 10, 16, 24}


def test_counts_never_exceed_their_totals():
    tumors, seeds = columns("rat_tumors"), columns("seeds")
    assert (tumors["y"] <= tumors["total"]).all() and (seeds["germinated"] <= seeds["total"]).all()
    cells = {
        (s, e): seeds["total"][(seeds["seed"] == s) & (seeds["extract"] == e)].size for s in (0, 1) for e in (0, 1)
    }
    assert cells == {(0, 0): 5, (0, 1): 6, (1, 0): 5, (1, 1): 5}


def test_rats_have_the_published_mean_curve():
    y = columns("rats")["y"]
    assert y.shape == (30, 5) and y.sum() == 36398
    assert (np.diff(y, axis=1) > 0).all()
    slope, height = np.polyfit([-14, -7, 0, 7, 14], y.mean(axis=0), 1)
    assert slope == pytest.approx(6.186, abs=1e-3) and height == pytest.approx(242.65, abs=0.01)


def test_lsat_has_the_published_item_totals_and_patterns():
    y = columns("lsat")["y"]
    assert y.shape == (1000, 5) and set(y.ravel()) == {0, 1}
    assert list(y.sum(axis=0)) == [924, 709, 553, 763, 870]
    patterns, counts = np.unique(y, axis=0, return_counts=True)
    assert len(patterns) == 30 and (counts[0], counts[-1]) == (3, 298)


def test_returns_of_the_pound_move_as_the_quoted_rates():
    """The rates of the first days were 1.8315, 1.825, 1.8512 and 1.843; the mean of all 945 returns is taken off."""
    y = columns("volatility")["y"]
    assert y.shape == (250,)
    returns = 100 * np.diff(np.log([1.8315, 1.825, 1.8512, 1.843]))
    assert np.diff(y[:3]) == pytest.approx(np.diff(returns), abs=2e-4)


def test_images_are_sixteenths_and_start_with_their_anchors():
    y = columns("factor_analysis")["y"]
    assert y.shape == (200, 48) and ((y >= 0) & (y <= 1)).all() and (y * 16 == np.round(y * 16)).all()
    assert ((y > 0).sum(axis=0) >= 20).all()
    assert abs(np.corrcoef(y[:, 0], y[:, 1])[0, 1]) < 0.5, "the anchors would not tell the factors apart"


def test_the_table_of_the_readme_has_every_example_and_what_its_verdict_predicts():
    """Where a function of a row can reach F-VI's optimum, one was found that loses next to nothing."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("<!-- table of the zoo -->")[1].split("<!-- end of the table -->")[0].strip().splitlines()
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table)
    found = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    experiments = yaml.safe_load((ROOT / "config/zoo.yaml").read_text(encoding="utf-8"))["experiments"]
    assert list(found) == list(experiments)
    for name, row in found.items():
        assert row["verdict"] == ("no" if name == "volatility" else "yes")
        assert row["F-VI against NUTS: loc, scale"].endswith(tuple("0123456789"))
        if row["verdict"] == "yes":
            assert float(row["best"].removeprefix("< ").split(" ")[0]) < 1e-4
    for name in ("rats", "factor_analysis"):  # conjugate given the shared latents: affine, with one scale for all
        assert float(found[name]["linear"].removeprefix("< ")) < 1e-3
