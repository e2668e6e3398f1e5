"""Figures of replays: order and looks of methods, censored runs, published medians, laws, parts, counts."""

import numpy as np
import pandas as pd
import pytest

from avigap.convergence import BEST_RATES
from avigap.ledger import COLUMNS
from avigap.plots import save_figure
from avigap.plots_explain import gap_decomposition, missed_mode, nan_rule, noise_floor, noise_law
from avigap.plots_hmm_example import hmm_example
from avigap.plots_ledger import ledger_glance, section
from avigap.plots_paths import Course, elbo_paths
from avigap.plots_replay import (
    convergence_boxes,
    convergence_survival,
    in_order,
    method_looks,
    read_replays,
    replay_title,
    shown,
)
from avigap.plots_times import break_even, learning_rates, time_to_gap

METHODS = ("factorized", "constant", "width_2", "width_16")


def run(replay, mode, method, seed=0, rate=0.01, **columns):
    """A row of replay.csv."""
    base = {
        "replay": replay,
        "mode": mode,
        "note": np.nan,
        "method": method,
        "model": "nonlinear",
        "num_obs": 1000,
        "seed": seed,
        "learning_rate": rate,
        "num_draws": 100,
        "steps": 600,
        "it_1": 100.0,
        "it_1_honest": 100.0,
        "steps_to_gap_2e2": 50.0,
        "steps_to_gap_1e3": 80.0,
        "nan_at": np.inf,
        "gap": 5.0,
        "gap_late": 4.0,
        "gap_averaged": 0.1,
        "target_loss": 1.0,
        "seconds_per_step": 0.5,
        "compile_seconds": 2.0,
        "runs_together": 5,
        "is_best_rate": True,
        "is_best_rate_1e3": True,
    }
    return base | columns


def some_runs():
    rows = [run("coded", "as_coded", m, seed) for m in METHODS for seed in range(5)]
    for row in rows:
        if row["method"] == "constant":
            row["it_1_honest"] = np.inf
        if row["method"] == "width_16":
            row["it_1_honest"] = [20.0, 40.0, np.inf, np.nan, np.inf][row["seed"]]
    for method in METHODS:
        for rate in (0.01, 0.1):
            for num_obs in (100, 1000):
                best = {"is_best_rate": rate == 0.1, "is_best_rate_1e3": rate == 0.01}
                rows.append(run("fair", "fair", method, 0, rate, num_obs=num_obs, **best))
                rows[-1]["steps_to_gap_2e2"] = np.inf if method == "constant" else 1 / rate
                rows[-1]["steps_to_gap_1e3"] = np.inf if method == "width_2" else 3 / rate
    return pd.DataFrame(rows)


def offsets(ax, marker):
    """Points of all lines of a panel with a marker."""
    return [tuple(xy) for line in ax.lines if line.get_marker() == marker for xy in np.asarray(line.get_xydata())]


def test_methods_are_in_the_order_of_their_numbers_with_a_look_each():
    names = ["width_16", "pair_2", "constant", "width_2", "factorized", "width_2"]
    assert in_order(names) == ["factorized", "constant", "pair_2", "width_2", "width_16"]
    looks = method_looks(pd.DataFrame({"model": "saw", "method": [*names, *(f"current_{k}" for k in range(9))]}))
    assert len({look for look in looks.values()}) == len(looks) == 14
    assert looks["saw", "factorized"].color == "#000000"


def test_a_panel_says_how_far_the_runs_go():
    own = some_runs().query("replay == 'coded'")
    assert replay_title(own) == "nonlinear, N = 1,000, 600 iterations, 5 seeds\nas coded"
    cut = own[own.seed == 0].assign(note="cut from more")
    assert replay_title(cut) == "nonlinear, N = 1,000, 600 iterations, 1 seed\nas coded (cut from more)"


def test_shown_are_the_longest_replay_the_largest_data_and_the_best_rates():
    table = some_runs()
    longer = table[table["mode"] == "as_coded"].assign(replay="coded in full", steps=900)
    (coded,), (fair,) = shown(pd.concat([table, longer]), "as_coded"), shown(table, "fair")
    assert set(coded.replay) == {"coded in full"}
    assert set(fair.num_obs) == {1000} and set(fair.learning_rate) == {0.1}
    assert shown(table, "corrected") == []


def test_later_tables_have_replays_of_their_own(tmp_path):
    some_runs().to_csv(tmp_path / "replay.csv", index=False)
    some_runs().to_csv(tmp_path / "full.csv", index=False)
    table = read_replays([tmp_path / "replay.csv", tmp_path / "full.csv"])
    assert set(table.replay) == {"coded", "fair", "coded (full)", "fair (full)"}


def test_boxes_count_censored_runs_and_show_published_medians():
    fig = convergence_boxes(some_runs(), {("coded", "width_2"): 77.0, ("coded", "constant"): np.inf})
    iterations, seconds, fair = fig.axes
    assert offsets(iterations, "D") == [(2.0, 77.0)] and offsets(seconds, "D") == []
    assert {text.get_text() for text in iterations.texts} == {"5", "3"}  # runs of the constant and of width 16
    assert sorted(offsets(iterations, "_")) == [(0.0, 100.0), (2.0, 100.0)]  # the median of width 16 is censored
    assert (0.0, 50.0) in offsets(seconds, "_")  # 100 iterations of half a second
    assert [label.get_text() for label in iterations.get_xticklabels()] == list(METHODS)
    assert (0.0, 10.0) in offsets(fair, "_")


def test_survival_stays_where_runs_never_converge():
    ax = convergence_survival(some_runs()).axes[0]
    ends = {line.get_label(): float(line.get_ydata()[-1]) for line in ax.lines}
    assert ends == pytest.approx({"factorized": 0.0, "constant": 1.0, "width_2": 0.0, "width_16": 0.6})
    steps = {line.get_label(): line.get_xdata().tolist() for line in ax.lines}
    assert steps["width_16"] == [1.0, 20.0, 40.0, 600.0]


def test_survival_names_every_method_of_a_row():
    """Also those that only one of the two modes has."""
    table = some_runs()
    table = table[(table["mode"] != "fair") | (table.method != "width_2")]
    legend = convergence_survival(table).axes[1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(METHODS)


def test_learning_rates_leave_out_medians_that_are_censored():
    for ax, steps, censored in zip(learning_rates(some_runs()).axes, (1, 3), ("constant", "width_2"), strict=True):
        lines = {line.get_label(): line for line in ax.lines}
        assert lines["factorized"].get_xdata().tolist() == [0.01, 0.1]
        assert np.allclose(lines["factorized"].get_ydata(), [steps / 0.01, steps / 0.1])
        assert [name for name in lines if np.isnan(lines[name].get_ydata()).all()] == [censored]


def test_time_to_a_gap_is_that_of_one_run_at_its_best_rate_for_that_gap():
    table = some_runs()
    table.loc[table.method == "width_16", "seconds_per_step"] = 0.1
    axes = time_to_gap(table).axes
    ends = [{line.get_label(): line.get_ydata()[-1] for line in ax.lines} for ax in axes]
    assert [each["width_16"] for each in ends] == pytest.approx([10, 10 * 0.1 / 5, 300, 300 * 0.1 / 5])
    assert np.isfinite(ends[0]["width_2"]) and np.isnan(ends[2]["width_2"])
    titles = [f"nonlinear\n{what} to {gap}" for gap in ("0.02", "0.001") for what in ("steps", "seconds")]
    assert [ax.get_title() for ax in axes] == titles
    told = [text.get_text() for text in axes[3].get_legend().get_texts()]
    assert told[0] == "factorized, compiles in 2.0 s" and told[2:] == [
        "width_2, 2.0 s; ahead from none / none",
        "width_16, 2.0 s; ahead from 100 / 100",
    ]


@pytest.mark.parametrize("draw", [learning_rates, time_to_gap])
def test_a_gap_that_no_run_reaches_is_said_in_words(draw, tmp_path):
    table = some_runs()
    table[list(BEST_RATES.values())[1]] = np.inf
    fig = draw(table)
    assert sum(text.get_text() == "none gets there" for ax in fig.axes for text in ax.texts) >= 1
    save_figure(fig, tmp_path / "figure.png")


def test_a_method_is_ahead_from_the_size_beyond_which_it_always_is():
    seconds = pd.DataFrame(
        {"factorized": [1.0, 2.0, 3.0], "a": [0.5, 3.0, 1.0], "b": [0.5, 1.0, np.inf], "c": [0.1, 0.1, 0.1]},
        index=[10, 100, 1000],
    )
    assert break_even(seconds) == {"a": 1000.0, "b": np.inf, "c": 10.0}


def test_paths_are_excess_as_coded_and_gap_if_fair():
    excess = np.r_[np.full(20, 50.0), np.full(20, -1.0), np.full(20, 2.0)]
    courses = [
        Course("coded", "factorized", excess, np.array([9.0, 3.0]), 300),
        Course("coded", "width_2", np.full(60, np.nan), np.full(2, np.nan), 300),
        Course("fair", "factorized", excess, np.array([9.0, 3.0]), 300),
        Course("elsewhere", "factorized", excess, np.array([1.0, 1.0]), 300),
    ]
    coded, fair = elbo_paths(some_runs(), courses).axes
    first, second, cross = coded.lines
    assert first.get_xdata().tolist() == [10.0, 30.0, 50.0]
    assert np.array_equal(first.get_ydata(), [50.0, np.nan, 2.0], equal_nan=True)
    assert cross.get_marker() == "x" and np.isnan(second.get_ydata()).all()
    (line,) = fair.lines
    assert line.get_xydata().tolist() == [[300.0, 9.0], [600.0, 3.0]]


def test_the_law_of_the_noise_floor_is_drawn_beside_the_runs():
    rows = [
        run(f"linear_noise{decay}", "fair", m, 0, rate, model="linear", num_obs=n)
        for decay in ("", "_decay")
        for m in ("factorized", "degree_1")
        for rate in (0.01, 0.1)
        for n in (10, 1000)
    ]
    left, right = noise_floor(pd.DataFrame(rows), 1.25).axes[:2]
    law = noise_law(np.array([10.0, 1000.0]), 0.1, 100, 1.25)
    assert law == pytest.approx(np.array([10, 1000]) * 0.1 / 4 * ((1.25 / 100) ** 0.5 + 0.02**0.5))
    assert any(np.allclose(line.get_ydata(), law) for line in left.lines if line.get_linestyle() == "-")
    ends = {line.get_label(): set(line.get_ydata()) for line in right.lines}
    assert ends["constant, factorized"] == {4.0} and ends["decayed to zero, factorized"] == {5.0}
    assert ends["averaged over the second half, degree_1"] == {0.1}


def test_broken_runs_are_crossed_out_and_censored_by_the_honest_rule_alone():
    rows = []
    for name, broken in (("nonlinear_nan", 0), ("nonlinear_nan_squares", 3)):
        for seed in range(5):
            is_broken = seed < broken
            it = {"it_1": 20.0 if is_broken else 40.0, "it_1_honest": np.inf, "nan_at": 7.0 if is_broken else np.inf}
            rows.append(run(name, "as_coded", "width_32", seed, steps=40, **it))
    (ax,) = nan_rule(pd.DataFrame(rows)).axes
    crossed = offsets(ax, "x")
    assert sorted(y for _, y in crossed) == [20.0] * 3 + [50.0] * 3
    assert sorted(y for _, y in offsets(ax, "_")) == [20.0, 40.0, 50.0, 50.0]
    assert "3 of 5 break" in ax.get_xticklabels()[1].get_text()


def test_starts_draws_and_networks_are_held_against_the_missed_mode():
    starts = pd.DataFrame(
        {"start": ["loc 0, scale 1", "far", "far"], "gap": [163.0, 40.0, 0.0], "found": [0.0, 1.0, 0.5], "lost": 0}
    )
    draws = pd.DataFrame([run(f"nonlinear_draws_{d}", "fair", "factorized", num_draws=d, gap=170.0) for d in (1, 10)])
    gap = pd.DataFrame({"family": ["mlp_4"], "gap": [2.0], "optimization_gap_per_obs": [0.1], "num_obs": [1000]})
    left, middle, right = missed_mode(starts, draws, gap).axes
    assert [text.get_text() for text in left.texts] == ["0%", "75%"]
    assert sorted(x for x, _ in offsets(left, "o")) == [1e-3, 40.0, 163.0]
    assert [t.get_text() for t in middle.get_yticklabels()] == ["1 draw, rate 0.01", "10 draws, rate 0.01"]
    assert sorted(x for x, _ in offsets(right, "o")) == [2.0, 102.0]
    assert all(any(np.all(np.asarray(line.get_xdata()) == 163.0) for line in ax.lines) for ax in (left, middle, right))


def test_the_hidden_markov_figure_counts_negative_eigenvalues():
    rows = [("mean", case, n, float(n)) for case in ("printed", "correct", "one_datum") for n in range(4)]
    rows += [("eigenvalue", "printed", n, n - 1.5) for n in range(4)] + [
        ("eigenvalue", "correct", n, 1.0) for n in range(4)
    ]
    rows += [("gap", case, h, 10.0**-h) for case in ("correct", "one_datum") for h in range(3)]
    axes = hmm_example(pd.DataFrame(rows, columns=["quantity", "case", "index", "value"])).axes
    labels = [text.get_text() for text in axes[1].get_legend().get_texts()]
    assert labels == ["matrix as printed: 2 negative", "matrix of the model: 0 negative"]
    assert axes[0].lines[0].get_xdata().tolist() == [1, 2, 3]  # z_0 is not shown
    assert axes[3].lines[0].get_ydata().tolist() == [1.0, 0.1, 0.01]


def test_parts_are_stacked_and_negative_ones_take_no_room():
    parts = pd.DataFrame(
        {
            "experiment": ["a", "a"],
            "num_obs": 10,
            "family": ["f", "g"],
            "approximation_gap": [1.0, 1.0],
            "amortization_gap": [2.0, -1e-9],
            "optimization_gap": [0.5, 0.0],
            "generalization_gap": [np.nan, 0.25],
            "pareto_k": [0.4, np.inf],
            "pareto_k_fvi": 0.3,
        }
    )
    (ax,) = gap_decomposition(parts).axes
    assert [text.get_text() for text in ax.texts] == [" 0.40", " inf"]
    assert [text.get_position()[0] for text in ax.texts] == [3.5, 1.25]
    assert "Pareto k of F-VI 0.30" in ax.get_title()


def test_the_ledger_is_counted_by_part_and_verdict():
    rows = [
        {"id": "linear-x", "verdict": "reproduced", "published": 2.0, "measured": 3.0},
        {"id": "linear-y", "verdict": "reproduced", "published": np.inf, "measured": np.inf},
        {"id": "linear-z", "verdict": "differs", "published": 1.0, "measured": np.inf},
        {"id": "figure-8-a", "verdict": "artefact", "published": 1.0, "measured": 0.1},
        {"id": "other", "verdict": "not run", "published": 1.0, "measured": np.nan},
    ]
    counts, ratios = ledger_glance(pd.DataFrame(rows, columns=COLUMNS)).axes
    assert [label.get_text() for label in counts.get_yticklabels()] == [
        *("linear model", "hidden Markov model", "theory and claims")
    ]
    assert sorted(text.get_text() for text in counts.texts) == ["1", "1", "1", "2"]
    assert sorted(float(line.get_xdata()[0]) for line in ratios.lines if line.get_marker() in "o<>") == [0.25, 1.5, 4.0]
    assert section("saw-pair-2") == "saw series" and section("never-better") == "theory and claims"
