"""Figures: statistics over seeds, honest log axes, marked failures, the window law, equal bytes for equal figures."""

import itertools
import json
import runpy
import sys
from pathlib import Path

import jax.numpy as jnp
import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.integrate import quad

from avigap import plots
from avigap.errors import InputError
from avigap.plots_fits import data_and_fit, ideal_function
from avigap.plots_gap import gap_versus_n, gap_versus_width
from avigap.plots_parameters import parameters_versus_n, smallest_families
from avigap.plots_read import best_family, evaluate, largest, match_files, nearest, read_fits
from avigap.plots_rows import COLUMNS, interval, read_gap, summarise
from avigap.plots_window import hmm_window_law, window_law

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
HMM_WINDOWS = {"window_0": {"kind": "polynomial"}, "window_1": {"kind": "polynomial", "inputs": [-1, 0, 1]}}
NETWORKS = {
    "narrow": {"kind": "mlp", "width": 2},
    "wide": {"kind": "mlp", "width": 8},
    "pair": {"kind": "mlp", "width": 8, "inputs": [-1, 0]},
}


def row(family, num_obs, seed, gap, **columns):
    """A row of gap.csv; ``gap`` is in nats per observation."""
    defaults = {
        "experiment": "study",
        "model": "linear",
        "gap_error": 1e-15 * num_obs,
        "optimization_gap_per_obs": 0.0,
        "num_params": 3,
        "num_failed": 0,
        "status": "converged",
    }
    return {**defaults, "family": family, "num_obs": num_obs, "seed": seed, "gap_per_obs": gap, **columns}


def table(*rows):
    return pd.DataFrame(rows)


def lines(fig: Figure, marker: str):
    """Lines of all panels that draw a marker at one point at least, apart from entries of legends."""
    return [li for ax in fig.axes for li in ax.lines if li.get_marker() == marker and len(np.asarray(li.get_xdata()))]


def points(fig: Figure, marker: str):
    """(x, y) of all such markers."""
    return [tuple(map(float, xy)) for line in lines(fig, marker) for xy in line.get_xydata()]


def texts(fig: Figure):
    """What the legends of a figure say."""
    legends = [*fig.legends, *(ax.get_legend() for ax in fig.axes if ax.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


# The window law


def law_integral(weights: np.ndarray) -> float:
    """The integral of paper.md 1.5 for symmetric weights of x_{n-h}, .., x_{n+h}, by quadrature over (0, pi)."""
    h = len(weights) // 2

    def integrand(w: float) -> float:
        total = sum(weights[h + k] * np.cos(k * w) for k in range(-h, h + 1))
        return (3 - 2 * np.cos(w)) ** 2 / (2 - 2 * np.cos(w)) * (total - 1 / (3 - 2 * np.cos(w))) ** 2

    return 0.5 * quad(integrand, 1e-4, np.pi, epsabs=1e-13)[0] / np.pi


@pytest.mark.parametrize(
    ("half_width", "printed", "digits"),
    [(0, 1.0, 5e-4), (1, 0.0588, 5e-5), (2, 7.25e-3, 5e-6), (3, 1.02e-3, 5e-6), (4, 1.48e-4, 5e-7), (5, 2.2e-5, 5e-7)],
)
def test_window_law_gives_the_derived_values(half_width, printed, digits):
    assert hmm_window_law(half_width) == pytest.approx(printed, abs=digits)


def test_window_law_is_the_integral_at_its_best_weights_and_below_it_elsewhere():
    assert law_integral(np.array([1.0])) == pytest.approx(hmm_window_law(0), rel=1e-3)
    best = law_integral(np.array([4.0, 9.0, 4.0]) / 17)
    assert hmm_window_law(1) == pytest.approx(1 / 17, rel=1e-12)
    assert best == pytest.approx(1 / 17, rel=1e-3)
    for side in (0.2, 0.22, 0.25, 0.3):
        assert law_integral(np.array([side, 1 - 2 * side, side])) > best


def test_window_law_falls_by_the_square_of_the_golden_ratio_squared():
    ratio = hmm_window_law(7) / hmm_window_law(8)
    assert ratio == pytest.approx(((3 + 5**0.5) / 2) ** 2, rel=1e-2)


# Statistics over seeds


def test_summary_is_the_mean_over_seeds_with_an_equal_tailed_interval():
    (only,) = summarise(table(*(row("affine", 10, seed, gap) for seed, gap in enumerate((1, 2, 3, 4, 5))))).itertuples()
    assert only.gap == 3.0
    assert (only.gap_low, only.gap_high) == pytest.approx((1.2, 4.8))
    assert only.num_seeds == 5 and not only.failed and not only.gap_is_zero and not only.is_imported


def test_interval_leaves_out_what_is_not_finite():
    assert interval(np.array([2.0, np.nan, 2.0])) == (2.0, 2.0)
    assert np.isnan(interval(np.array([np.nan]))).all()


@pytest.mark.parametrize("gap", [0.0, -3e-16, 9e-16])
def test_a_gap_within_its_error_is_shown_as_the_error_and_called_zero(gap):
    (only,) = summarise(table(row("affine", 10, 0, gap), row("affine", 10, 1, gap))).itertuples()
    assert only.gap == pytest.approx(1e-15) and only.gap_is_zero and not only.failed


def test_one_seed_above_its_error_makes_the_gap_more_than_zero():
    (only,) = summarise(table(row("affine", 10, 0, 0.0), row("affine", 10, 1, 0.2))).itertuples()
    assert only.gap == pytest.approx(0.1) and not only.gap_is_zero


def test_the_plain_start_has_statistics_of_its_own():
    (only,) = summarise(table(row("affine", 10, 0, 0.0, optimization_gap_per_obs=0.3))).itertuples()
    assert only.gap_is_zero and not only.plain_is_zero and only.plain == pytest.approx(0.3)


@pytest.mark.parametrize(
    "trouble", [{"status": "max_steps"}, {"status": "nonfinite"}, {"gap": np.nan}, {"gap": -1e-3}], ids=str
)
def test_failures_are_counted_and_never_dropped(trouble):
    (only,) = summarise(table(row("mlp", 10, 0, 0.1), row("mlp", 10, 1, **{"gap": 0.1, **trouble}))).itertuples()
    assert only.failed and only.num_seeds == 2
    assert only.is_finite == (not np.isnan(trouble.get("gap", 0.0)))


def test_a_failed_start_that_did_not_win_is_another_thing():
    (only,) = summarise(table(row("mlp", 10, 0, 0.1, num_failed=1))).itertuples()
    assert only.start_failed and not only.failed


def test_imported_data_have_no_seed():
    assert summarise(table(row("mlp", 10, np.nan, 0.1))).is_imported.all()


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "is empty"), ("a,b\n1,2\n", "no column 'experiment'"), (",".join(COLUMNS) + "\n", "has no row")],
)
def test_unusable_tables_are_refused_in_a_sentence(tmp_path, content, message):
    path = tmp_path / "gap.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_gap(path)


# Looks


def test_a_family_has_one_look_in_all_experiments_of_its_model():
    rows = table(
        row("constant", 10, 0, 0.1),
        row("affine", 10, 0, 0.1),
        row("quadratic", 10, 0, 0.1, experiment="second"),
        row("affine", 10, 0, 0.1, experiment="second"),
    )
    looks = plots.family_looks(rows)
    assert looks["linear", "constant"].color == plots.GREY
    assert looks["linear", "affine"] != looks["linear", "quadratic"]
    assert set(looks) == {("linear", name) for name in ("constant", "factorized", "affine", "quadratic")}


# Gap against N


def test_gap_versus_n_draws_zeros_hollow_at_their_error():
    rows = table(
        *(row("affine", n, seed, 0.0) for n in (10, 100) for seed in (0, 1)), row("constant", 10, 0, 0.1, num_params=2)
    )
    fig = gap_versus_n(rows)
    hollow = [line for line in lines(fig, "o") if line.get_markerfacecolor() == "white"]
    assert [y for line in hollow for y in line.get_ydata()] == pytest.approx([1e-15, 1e-15])
    assert all(y > 0 for _, y in points(fig, "o") + points(fig, "s"))
    bottom, top = fig.axes[0].get_ylim()
    assert bottom <= 1e-15 and top >= 0.1
    assert any("hollow" in text for text in texts(fig))


def test_gap_versus_n_marks_failures():
    rows = table(
        row("mlp", 10, 0, 0.1, status="max_steps"),
        row("mlp", 100, 0, 0.2, num_failed=2),
        row("mlp", 1000, 0, np.nan, status="nonfinite"),
        row("mlp", 10000, 0, 0.3),
    )
    fig = gap_versus_n(rows)
    assert np.array(points(fig, "x")) == pytest.approx(np.array([(10.0, 0.1), (1000.0, 0.96)]))
    assert np.array(points(fig, "+")) == pytest.approx(np.array([(100.0, 0.2)]))
    assert {"best start not converged", "another start not converged"} <= set(texts(fig))


def test_gap_versus_n_has_a_panel_for_each_experiment_and_leaves_f_vi_out():
    rows = table(row("affine", 10, 0, 0.1), row("affine", 10, np.nan, 0.1, experiment="published"))
    rows = pd.concat([rows, table(row("factorized", 10, np.nan, 0.0, experiment="published"))])
    fig = gap_versus_n(rows)
    assert [ax.get_title() for ax in fig.axes] == [
        "study\n1 simulated data set per N",
        "published\none imported data set per N",
    ]
    assert "factorized" not in texts(fig)


def test_an_experiment_of_f_vi_alone_is_an_empty_panel():
    rows = table(row("factorized", 10, 0, 0.0))
    assert points(gap_versus_n(rows), "D") == []
    assert len(points(parameters_versus_n(rows, [0.1, 0.2]), "x")) == 2


# Parameters against N

CHOICE = table(
    *(row("small", n, seed, gap, num_params=2) for n in (10, 100) for seed, gap in enumerate((0.02, 0.04))),
    *(row("middle", n, seed, gap, num_params=5) for n in (10, 100) for seed, gap in enumerate((1e-3, 3e-3))),
    *(row("large", n, seed, 0.0, num_params=50) for n in (10, 100) for seed in (0, 1)),
    *(row("broken", n, seed, gap, num_params=1) for n in (10, 100) for seed, gap in enumerate((0.0, np.nan))),
    row("factorized", 10, 0, 0.0, num_params=1),
)


@pytest.mark.parametrize(
    ("tolerance", "family", "size"), [(0.03, "small", 2), (2e-3, "middle", 5), (1.9e-3, "large", 50)]
)
def test_the_smallest_family_within_the_tolerance_is_chosen_by_the_mean_over_seeds(tolerance, family, size):
    found = smallest_families(CHOICE, tolerance)
    assert list(found.num_obs) == [10, 100]
    assert list(found.family) == [family] * 2 and list(found.num_params) == [size] * 2


def test_no_family_within_the_tolerance_is_said_so():
    found = smallest_families(CHOICE[CHOICE.family != "large"], 1e-6)
    assert list(found.family) == [None, None] and found.num_params.isna().all()


def test_parameters_versus_n_shows_what_is_not_reached_and_the_line_of_f_vi():
    rows = CHOICE[CHOICE.family != "large"]
    fig = parameters_versus_n(rows, [0.03, 1e-6])
    (ax,) = fig.axes
    assert [x for x, _ in points(fig, "x")] == [10.0, 100.0]
    assert "no family reaches it" in texts(fig)
    dashed = next(line for line in ax.lines if line.get_linestyle() == "--")
    assert np.allclose(np.asarray(dashed.get_ydata()), 2 * np.asarray(dashed.get_xdata()))
    assert "small" in [text.get_text() for text in ax.texts]


# Gap against width


def network_rows():
    gaps = {"narrow": 0.1, "wide": 0.001, "pair": 1e-5}
    return table(
        *(
            row(family, n, seed, gap, optimization_gap_per_obs=9 * gap)
            for family, gap in gaps.items()
            for n in (10, 100, 500, 1000)
            for seed in (0, 1)
        )
    )


def test_gap_versus_width_shows_best_and_plain_start_at_two_sizes():
    fig = gap_versus_width(network_rows(), {"study": NETWORKS})
    assert [ax.get_title() for ax in fig.axes] == [f"study\n2 simulated data sets of N = {n}" for n in ("100", "1,000")]
    best, plain = (
        line for line in lines(fig, "o")[:2] if line.get_linestyle() == "None"
    )  # the networks of x_n alone come first
    assert best.get_ydata() == pytest.approx([0.1, 0.001]) and plain.get_ydata() == pytest.approx([1.0, 0.01])
    assert best.get_xdata() == pytest.approx([2, 8], rel=0.1)
    assert {"best start", "plain start", "inputs [-1, 0]"} <= set(texts(fig))


@pytest.mark.parametrize(
    ("families", "message"),
    [
        ({}, "at least one"),
        ({"other": NETWORKS}, "unknown experiment 'other'; available: study"),
        ({"study": {"deep": {"kind": "mlp"}}}, "unknown family of experiment 'study' 'deep'"),
    ],
)
def test_families_without_rows_are_refused(families, message):
    with pytest.raises(InputError, match=message):
        gap_versus_width(network_rows(), families)
    with pytest.raises(InputError, match=message):
        window_law(network_rows(), families)


# Gap against the window


def test_window_figure_puts_the_measured_gap_beside_the_law():
    rows = table(
        *(
            row(f"window_{h}", n, seed, 1.1 * hmm_window_law(h), experiment="chain", model="hmm")
            for h in (0, 1)
            for n in (100, 1000)
            for seed in (0, 1)
        )
    )
    fig = window_law(rows, {"chain": HMM_WINDOWS})
    left, right = fig.axes
    (law,) = (line for line in left.lines if line.get_marker() == "_")
    assert law.get_ydata() == pytest.approx([1.0, 1 / 17])
    ratios = [y for line in right.lines if line.get_marker() in ("o", "^") for y in line.get_ydata()]
    assert ratios == pytest.approx([1.1] * 4)


# Saving


def test_no_line_runs_under_a_legend():
    """Lines at all heights of the panel, so that the legend needs room below them."""
    number = 12
    fig, (ax,) = plots.panels(1, 1, 2.4)
    plots.log_axes(ax)
    for index in range(number):
        ax.plot([1, 1e4], [2.0**-index] * 2, label=f"family {index}")
    ax.set(xlim=(1, 1e4), ylim=(2.0 ** (-number), 2))
    ax.legend(loc="best", handles=ax.lines[:4])
    plots.make_room_for_legends(fig)
    fig.draw_without_rendering()
    place = ax.get_legend().get_window_extent()
    heights = ax.transData.transform([(1, 2.0**-index) for index in range(number)])[:, 1]
    assert not ((place.y0 < heights) & (heights < place.y1)).any()
    assert ax.get_ylim()[0] < 2.0**-number


def test_no_bar_runs_under_a_legend():
    fig, (ax,) = plots.panels(1, 1, 2.4)
    plots.log_axes(ax)
    ax.plot([1, 1e4], [1, 1], label="top")
    ax.vlines(np.logspace(0, 4, 30), 1e-4, 1)
    ax.set(xlim=(1, 1e4), ylim=(1e-4, 1))
    ax.legend(loc="lower right")
    plots.make_room_for_legends(fig)
    fig.draw_without_rendering()
    assert ax.get_legend().get_window_extent().y1 < ax.transData.transform((1, 1e-4))[1]


CROWD = {
    f"depth_{depth}_{width}": {"kind": "mlp", "width": width, "depth": depth}
    for depth in range(1, 7)
    for width in (2, 3, 4, 6, 8)
}


@pytest.mark.parametrize(
    ("draw", "families"),
    [(gap_versus_n, list(CROWD)[:5]), (lambda rows: gap_versus_width(rows, {"study": CROWD}), list(CROWD))],
    ids=["n", "width"],
)
def test_no_point_lies_under_the_legend_of_a_figure_of_gaps(draw, families):
    """Points all over panels a third as wide as the figure, or with many entries in their legends."""
    rows = [
        row(name, n, 0, 10.0 ** -((index + index // 5) % 5), experiment=study, gap_error=9e-5 * n)
        for (index, name), n, study in itertools.product(enumerate(families), (10, 30, 100, 300), ("study", "b", "c"))
    ]
    fig = draw(table(*rows))
    fig.draw_without_rendering()
    for ax in fig.axes:
        place = ax.get_legend().get_window_extent()
        for line in ax.lines:
            assert not place.count_contains(ax.transData.transform(line.get_xydata()))


def test_axes_without_a_covered_legend_stay_as_they_are():
    fig, axes = plots.panels(2, 2, 2.4)
    for ax in axes:
        plots.log_axes(ax)
        ax.plot([1, 10], [1e-8, 1e-8], label="low")
        ax.set_ylim(1e-9, 1)
    axes[0].legend(loc="upper right")
    plots.make_room_for_legends(fig)
    assert [ax.get_ylim()[0] for ax in axes] == [1e-9, 1e-9]


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_equal_figures_give_equal_bytes(tmp_path, suffix):
    first, second = tmp_path / f"first{suffix}", tmp_path / "new" / f"second{suffix}"
    for path in (first, second):
        plots.save_figure(gap_versus_n(CHOICE), path)
    assert first.read_bytes() == second.read_bytes()
    assert b"CreationDate" not in first.read_bytes()


def test_a_figure_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"the old one")

    def fail(self, target, **_):
        Path(target).write_bytes(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        plots.save_figure(gap_versus_n(CHOICE), path)
    assert path.read_bytes() == b"the old one" and list(tmp_path.iterdir()) == [path]


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.pdf or \.png"):
        plots.save_figure(Figure(), tmp_path / "figure.svg")


def test_the_style_does_not_leak():
    before = dict(matplotlib.rcParams)
    gap_versus_n(CHOICE)
    assert dict(matplotlib.rcParams) == before


# Fits: the chain of scripts on two tiny experiments


def run(name: str, *arguments: object) -> None:
    """Run a script's program in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder as the workflow fills it."""
    root = tmp_path_factory.mktemp("results")
    plan = {
        "linear": ([6, 12], {"constant": {"kind": "constant"}, "affine": {"kind": "polynomial", "degree": 1}}),
        "nonlinear": ([8], {"mlp_2": {"kind": "mlp", "width": 2, "depth": 1}}),
    }
    for name, (sizes, families) in plan.items():
        folder = root / name
        run("simulate", "--model", name, "--num-obs", *sizes, "--seed", 0, 1, "--output", folder / "data.nc")
        run("fit_fvi", "--data", folder / "data.nc", "--output", folder / "fvi.nc")
        for family, config in families.items():
            files = ("--data", folder / "data.nc", "--fvi", folder / "fvi.nc", "--output", folder / f"avi/{family}.nc")
            fit = json.dumps({"starts": 1, "max_steps": 3})
            run("fit_avi", *files, "--family", json.dumps(config), "--fit", fit)
    run("summarise_gap", "--fits", *sorted(root.glob("*/avi/*.nc")), "--output", root / "gap.csv")
    return root


def files_of(root: Path, *names: str):
    return match_files(
        [root / name / "data.nc" for name in names],
        [root / name / "fvi.nc" for name in names],
        [fit for name in names for fit in sorted((root / name / "avi").glob("*.nc"))],
    )


def test_the_best_family_is_the_smallest_of_equal_ones(results):
    rows = read_gap(results / "gap.csv")
    (files,) = files_of(results, "linear")
    fits = read_fits(files, rows, nearest(10), lambda data: best_family(rows, "linear", data))
    assert fits.data.num_obs == 12 and fits.data.seed == 0
    assert list(fits.functions) == ["affine"]
    extra = rows[(rows.family == "affine") & (rows.num_obs == 12)].assign(
        family="quadratic", num_params=4, gap_per_obs=0
    )
    assert best_family(pd.concat([extra, rows]), "linear", fits.data) == ["affine"]
    assert best_family(rows[rows.num_obs == 6], "linear", fits.data) == []


def test_ideal_function_draws_the_optimum_and_the_fitted_network(results):
    (files,) = files_of(results, "nonlinear")
    rows = read_gap(results / "gap.csv")
    fits = read_fits(files, rows, largest)
    fig = ideal_function([fits], rows)
    for ax, factor in zip(fig.axes, (fits.fvi.loc, fits.fvi.scale), strict=True):
        (optimum,) = (line for line in ax.lines if line.get_marker() == ".")
        assert np.array_equal(optimum.get_xdata(), fits.data.x)
        assert np.array_equal(optimum.get_ydata(), np.asarray(factor["z"]))
    family, params = fits.functions["mlp_2"]
    loc, scale = evaluate(family, params, fits.data.x)
    assert loc == pytest.approx(np.asarray(fits.q["mlp_2"].loc["z"])) and (scale > 0).all()


def test_a_window_is_no_function_of_one_input(results):
    (files,) = files_of(results, "nonlinear")
    family, params = read_fits(files, read_gap(results / "gap.csv"), largest).functions["mlp_2"]
    with pytest.raises(InputError, match=r"inputs \[-1, 0\]"):
        evaluate(family._replace(inputs=(-1, 0)), params, jnp.zeros(3))


def test_data_and_fit_overlays_equal_factors_where_the_gap_is_zero(results):
    rows = read_gap(results / "gap.csv")
    (files,) = files_of(results, "linear")
    fits = read_fits(files, rows, largest, lambda data: best_family(rows, files.name, data))
    (ax,) = data_and_fit([fits], rows).axes
    f_vi = next(line for line in ax.lines if line.get_label() == "F-VI")
    a_vi = next(line for line in ax.lines if line.get_label() == "A-VI: affine")
    assert a_vi.get_ydata() == pytest.approx(np.asarray(f_vi.get_ydata()), abs=1e-9)
    (truth,) = (line for line in ax.lines if line.get_label() == "true z")
    assert np.array_equal(truth.get_ydata(), fits.data.latents["z"])


def test_an_experiment_that_the_table_lacks_is_refused(results):
    rows = read_gap(results / "gap.csv")
    (files,) = files_of(results, "linear")
    with pytest.raises(InputError, match="no row of the experiment 'linear'"):
        read_fits(files, rows[rows.experiment != "linear"], largest)
    with pytest.raises(InputError, match="no data set n7_s0"):
        read_fits(files, rows.assign(num_obs=7), largest)


def test_files_without_their_partner_are_refused(results):
    data, fvi, fit = (results / "linear" / name for name in ("data.nc", "fvi.nc", "avi/affine.nc"))
    with pytest.raises(InputError, match="F-VI file"):
        match_files([data], [], [fit])
    with pytest.raises(InputError, match="data file"):
        match_files([data], [fvi], [results / "nonlinear/avi/mlp_2.nc"])


def test_every_figure_is_a_script(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gap = ("--gap", results / "gap.csv")
    networks = json.dumps({"nonlinear": {"mlp_2": {"kind": "mlp", "width": 2}}})
    files = {
        name: ("--data", results / name / "data.nc", "--fvi", results / name / "fvi.nc", "--fits")
        for name in ("linear", "nonlinear")
    }
    run("plot_gap_versus_n", *gap, "--output", "a.png", "a.pdf")
    run("plot_parameters_versus_n", *gap, "--output", "b.png")
    run("plot_gap_versus_width", *gap, "--families", networks, "--output", "c.png")
    run("plot_ideal_function", *gap, *files["nonlinear"], results / "nonlinear/avi/mlp_2.nc", "--output", "d.png")
    run("plot_data_and_fit", *gap, *files["linear"], results / "linear/avi/affine.nc", "--output", "e.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "b.png", "c.png", "d.png", "e.png"]


def test_docs_figures_copies_pictures_and_names_the_missing(tmp_path, capsys):
    (tmp_path / "figures").mkdir()
    (tmp_path / "README.md").write_text("![one](docs/figures/one.png) ![two](docs/figures/two.png)")
    arguments = ("--figures", tmp_path / "figures", "--readme", tmp_path / "README.md", "--output", tmp_path / "docs")
    with pytest.raises(SystemExit, match="holds no PNG"):
        run("docs_figures", *arguments)
    (tmp_path / "figures/one.png").write_bytes(b"1")
    with pytest.raises(SystemExit, match=r"two\.png"):
        run("docs_figures", *arguments)
    assert (tmp_path / "docs/one.png").read_bytes() == b"1"
    (tmp_path / "figures/two.png").write_bytes(b"2")
    run("docs_figures", *arguments)
    assert len(capsys.readouterr().out.splitlines()) == 3
