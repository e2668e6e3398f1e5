"""Each step is a program: it runs in any folder on nothing but its inputs, and its last line of output is JSON."""

import io as text
import json
import math
import re
import shutil
import sys
from types import SimpleNamespace

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from programs import ROOT, call, start, succeed

from avigap import cli, io
from avigap.amortization import mean_field
from avigap.elbo import quadratic
from avigap.errors import InputError
from avigap.families import build
from avigap.models import published_loss
from avigap.models.linear import ideal_function
from avigap.starts import fit_settings

FVI_KEYS = {"elbo", "status", "seconds", "residual"}
AVI_KEYS = {"elbo", "status", "seconds", "gap", "gap_per_obs", "gap_error", "optimization_gap", "num_params"}
AFFINE = '{"kind": "polynomial", "degree": 1, "inputs": [0]}'
NETWORK = '{"kind": "mlp", "width": 1, "depth": 1}'
FITS = {"d": "steps/avi/line.nc", "x": "table/avi/affine.nc"}
QUICK = '{"starts": 1, "max_steps": 5}'


def last_line(out):
    def refuse(name):
        raise ValueError(f"{name} is not JSON")

    return json.loads(out.splitlines()[-1], parse_constant=refuse)


def test_the_commands_of_the_interface(tmp_path):
    """In an empty folder, each in a process of its own."""
    simulate = ["--model", "linear", "--settings", '{"tau": 1.155, "sigma": 2.43}', "--num-obs", 50, "--seed", 0]
    fvi = ["--data", "d.nc", "--fvi", "fvi.nc"]
    for name, arguments, keys in [
        ("simulate", [*simulate, "--output", "d.nc"], None),
        ("fit_fvi", ["--data", "d.nc", "--output", "fvi.nc"], FVI_KEYS),
        ("fit_avi", [*fvi, "--family", AFFINE, "--seed", 0, "--output", "avi.nc"], AVI_KEYS),
    ]:
        done = start(tmp_path, name, *arguments)
        assert done.code == 0, done.err
        assert done.out == "" if keys is None else last_line(done.out).keys() >= keys | {"loss_published"}
    assert last_line(done.out)["gap_per_obs"] < 1e-8
    assert {path.name for path in tmp_path.iterdir()} == {"d.nc", "fvi.nc", "avi.nc"}


def test_import_of_the_published_saw_data(tmp_path):
    """The published file gives the optimum that paper.md section 5 states, as the authors count."""
    source = ROOT / "data/saw_seed2012.csv"
    settings = ["--settings", '{"alpha": 0.75}']
    succeed(tmp_path, "import_data", "--model", "saw", *settings, "--input", source, "--output", "d.nc")
    result = last_line(succeed(tmp_path, "fit_fvi", "--data", "d.nc", "--output", "fvi.nc"))
    assert result["num_obs"] == 1000 and result["status"] == "converged"
    assert result["loss_published"] == pytest.approx(553.01391, abs=1e-4)


def test_import_of_netcdf_is_import_of_csv(tmp_path):
    x = np.linspace(-1, 1, 5)
    pd.DataFrame({"x": x}).to_csv(tmp_path / "x.csv")
    xr.Dataset({"x": ("row", x)}).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    for kind in ("csv", "nc"):
        succeed(tmp_path, "import_data", "--model", "linear", "--input", f"x.{kind}", "--output", f"{kind}.d.nc")
    ours, theirs = (io.read_data(tmp_path / f"{kind}.d.nc")[0].x for kind in ("csv", "nc"))
    assert list(ours) == list(theirs) == list(x)


HALF_LOG = math.log(2 * math.pi) / 2
LOSSES = [
    ("linear", {"tau": 1.155, "sigma": 2.43}, "simulate", 5 * HALF_LOG + 6 * math.log(2.43)),
    ("linear", {"tau": 1.155, "sigma": 1.5}, "import_data", 5 * HALF_LOG + 6 * math.log(1.5)),
    ("linear", {"sigma": 1.5, "theta_scale": 2.0}, "simulate", 6 * HALF_LOG + 6 * math.log(1.5)),
    ("nonlinear", {"normalised": False}, "import_data", 5 * HALF_LOG),
    ("saw", {"alpha": 0.75}, "simulate", 5 * HALF_LOG),
]


@pytest.mark.parametrize(("model", "settings", "script", "dropped"), LOSSES)
def test_the_loss_as_the_authors_count_it(tmp_path, model, settings, script, dropped):
    """-ELBO without any log 2 pi and, for linear, without N log sigma; N = 6."""
    (tmp_path / "x.csv").write_text("x\n" + "0.3\n-1.0\n2.0\n" * 3)
    source = ["--input", "x.csv"] if script == "import_data" else []
    flags = ["--model", model, "--settings", json.dumps(settings), "--output", "d.nc", "--num-obs", 6]
    succeed(tmp_path, script, *flags, *source)
    fits = [succeed(tmp_path, "fit_fvi", "--data", "d.nc", "--output", "fvi.nc")]
    flags = ["--data", "d.nc", "--fvi", "fvi.nc", "--output", "avi.nc", "--family"]
    kind = "factorized" if model == "nonlinear" else "constant"
    fits.append(succeed(tmp_path, "fit_avi", *flags, json.dumps({"kind": kind})))
    for result, keys in zip(map(last_line, fits), (FVI_KEYS, AVI_KEYS), strict=True):
        assert result.keys() >= keys
        assert result["loss_published"] == pytest.approx(-result["elbo"] - dropped, abs=1e-9)


def test_the_authors_published_no_loss_of_the_hmm():
    assert published_loss("hmm", {}, 6, -1.0) is None


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Fits to data sets of two seeds, and to an imported one without a seed, with their table."""
    folder = tmp_path_factory.mktemp("many")
    succeed(folder, "simulate", "--model", "linear", "--num-obs", 5, "--seed", 1, 2, "--output", "d.nc")
    (folder / "x.csv").write_text("x\n1.5\n0.25\n-2\n0\n1\n")
    succeed(folder, "import_data", "--model", "linear", "--input", "x.csv", "--output", "x.nc")
    for name in ("d", "x"):
        succeed(folder, "fit_fvi", "--data", f"{name}.nc", "--output", f"fvi_{name}.nc")
        flags = ["--data", f"{name}.nc", "--fvi", f"fvi_{name}.nc", "--family", AFFINE, "--output", f"{FITS[name]}"]
        succeed(folder, "fit_avi", *flags)
    succeed(folder, "summarise_gap", "--fits", *FITS.values(), "--output", "gap.csv", "--provenance", "made.json")
    return folder


def test_start_seeds_repeats_what_fit_avi_finds_for_every_seed(many):
    common = ["--data", "d.nc", "--fvi", "fvi_d.nc", "--fit", QUICK]
    sought = [*common, "--num-obs", 5, "--seeds", 2, "--family", AFFINE, NETWORK]
    succeed(many, "start_seeds", *sought, "--output", "seeds.csv")
    table = pd.read_csv(many / "seeds.csv")
    assert list(zip(table.kind, table.seed, strict=True)) == [(k, s) for k in ("polynomial", "mlp") for s in (0, 1)]
    assert (table.num_obs == 5).all() and (table.largest_parameter > 0).all()
    out = succeed(many, "fit_avi", *common, "--family", NETWORK, "--seed", 1, "--output", "one.nc")
    assert json.loads(out.splitlines()[0])["gap"] == table.gap.iloc[-1] != table.gap.iloc[-2]
    done = call(many, "start_seeds", *common, "--num-obs", 7, "--family", NETWORK, "--output", "no.csv")
    assert done.code == 1 and "no data set with 7 observations; it has 5" in done.err
    assert not (many / "no.csv").exists()


def test_what_made_the_fits_is_written_beside_the_table(many):
    (made,) = json.loads((many / "made.json").read_text())
    assert made["files"] == list(FITS.values())
    assert made["jax_version"] == jax.__version__ and made["device"].startswith("cpu")
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|none", made["git_commit"])


def test_fits_that_were_made_by_different_commits_are_told_apart(many):
    other = many / "steps/avi/older.nc"
    other.write_bytes((many / FITS["d"]).read_bytes())
    with h5py.File(other, "r+") as opened:
        opened.attrs["git_commit"] = "older"
    paths = [FITS["d"], "steps/avi/older.nc", FITS["x"]]
    succeed(many, "summarise_gap", "--fits", *paths, "--output", "two.csv", "--provenance", "two.json")
    first, second = json.loads((many / "two.json").read_text())
    assert first["files"] == [FITS["d"], FITS["x"]] and second["files"] == [paths[1]]
    assert second == first | {"git_commit": "older", "files": second["files"]}


def test_the_table_is_tidy(many):
    table = pd.read_csv(many / "gap.csv", dtype=str, keep_default_na=False)
    expected = (
        "experiment, model, num_obs, family, seed, elbo_fvi, elbo_avi, elbo_avi_plain, gap, gap_per_obs, gap_error, "
        "optimization_gap_per_obs, held_out_gap_per_obs, residual_fvi, num_params, num_params_shared, start, "
        "num_starts, num_failed, status, seconds"
    )
    assert list(table.columns) == expected.split(", ")
    assert list(table.experiment) == ["steps"] * 2 + ["table"] and list(table.family) == ["line"] * 2 + ["affine"]
    assert list(table.num_obs) == ["5"] * 3
    assert list(table.seed) == ["1", "2", ""], "a whole number, or empty for imported data"
    assert [bool(value) for value in table.held_out_gap_per_obs] == [True, True, False]
    for column in ("num_params", "num_params_shared", "num_starts", "num_failed"):
        assert table[column].str.fullmatch(r"\d+").all()
    assert b"\r" not in (many / "gap.csv").read_bytes()


def test_numbers_keep_every_digit(many):
    table = pd.read_csv(many / "gap.csv", dtype=str)
    results = [json.loads(line) for line in redo(many).splitlines()]
    assert list(map(float, table.elbo_avi[:2])) == [result["elbo"] for result in results]


def redo(folder):
    flags = ["--data", "d.nc", "--fvi", "fvi_d.nc", "--family", AFFINE, "--output", "again.nc"]
    return succeed(folder, "fit_avi", *flags)


def test_a_data_set_does_not_depend_on_its_company(tmp_path):
    """Keys are folded from names: one size and seed gives the same data alone, first or last."""
    flags = ["--model", "linear", "--num-obs", 7, 5, "--seed", 2, 1, "--output", "together.nc"]
    succeed(tmp_path, "simulate", *flags)
    together = {(each.num_obs, each.seed): each for each in io.read_data(tmp_path / "together.nc")}
    assert len({each.x.tobytes() for each in together.values()} | {together[5, 1].held_out_x.tobytes()}) == 5
    for num_obs, seed in together:
        succeed(tmp_path, "simulate", "--model", "linear", "--num-obs", num_obs, "--seed", seed, "--output", "d.nc")
        (alone,) = io.read_data(tmp_path / "d.nc")
        for a, b in [(alone.x, together[num_obs, seed].x), (alone.held_out_x, together[num_obs, seed].held_out_x)]:
            np.testing.assert_array_equal(a, b)


def test_keys_differ_by_seed_and_by_every_name():
    cases = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", "b"), (0, "b", "a"), (0, "ab")]
    keys = {tuple(jax.random.key_data(cli.named_key(*case)).tolist()) for case in cases}
    assert len(keys) == len(cases)


def test_parameters_on_file_give_the_elbo_of_the_table(many):
    data = io.read_data(many / "d.nc")
    family = build(json.loads(AFFINE))
    table = io.read_summary(many / FITS["d"], ["seed", "elbo_avi"])
    for each, params, elbo in zip(data, io.read_avi(many / FITS["d"], data, family), table.elbo_avi, strict=True):
        x = jnp.asarray(each.x)
        assert float(quadratic(each.joint, x, mean_field(each.joint, family, params, x))) == pytest.approx(
            elbo, abs=1e-9
        )


def test_parameters_of_another_family_are_refused(many):
    data = io.read_data(many / "d.nc")
    for family in ({"kind": "constant"}, {"kind": "polynomial", "inputs": [-1]}, {"kind": "factorized"}):
        with pytest.raises(ValueError, match=r"line.nc: the fit to data set n5_s1 is of another family"):
            io.read_avi(many / FITS["d"], data, build(family))


def test_the_seed_of_the_starts_matters_and_repeats(many):
    flags = ["--data", "x.nc", "--fvi", "fvi_x.nc", "--family", NETWORK, "--fit", QUICK, "--output", "net.nc"]
    runs = [last_line(succeed(many, "fit_avi", *flags, "--seed", seed)) for seed in (0, 0, 1)]
    assert runs[0] | {"seconds": 0} == runs[1] | {"seconds": 0}
    assert runs[0]["optimization_gap"] != runs[2]["optimization_gap"]


def test_an_existing_output_is_replaced(many):
    (many / "again.nc").write_text("something else")
    redo(many)
    assert io.read_summary(many / "again.nc", ["seed", "num_obs"]).num_obs.tolist() == [5, 5]


def test_defaults_of_the_fit_are_in_the_help():
    help_text = " ".join(call(ROOT, "fit_avi", "--help").out.split())
    assert str(fit_settings()._asdict()) in help_text.replace("- ", "-")


def test_help_needs_no_traceback(tmp_path):
    for script in ("simulate", "import_data", "fit_fvi", "fit_avi", "summarise_gap"):
        done = call(tmp_path, script, "--help")
        assert done.code == 0 and "--output" in done.out and done.err == ""


REFUSED = [
    (BrokenPipeError(32, "Broken pipe"), "step.py: [Errno 32] Broken pipe"),
    (PermissionError(13, "Permission denied", "d.nc"), "step.py: d.nc: Permission denied"),
    (MemoryError("Unable to allocate 8 TiB"), "step.py: not enough memory: Unable to allocate 8 TiB"),
    (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 8 TiB"), "step.py: not enough memory: RESOURCE_EXHAUSTED: 8 TiB"),
]


@pytest.fixture
def step(monkeypatch):
    """Run a main function as the program step.py, without a change to this process's signals."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/step.py"])
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)

    def run(error):
        def main():
            raise error

        cli.run(main)

    return run


@pytest.mark.parametrize(("error", "sentence"), REFUSED)
def test_what_the_system_refuses_is_a_sentence(step, error, sentence):
    """The interpreter prints the text of SystemExit and exits with 1."""
    with pytest.raises(SystemExit) as caught:
        step(error)
    assert caught.value.code == sentence


def test_an_interruption_is_a_sentence(step, capsys):
    with pytest.raises(SystemExit) as caught:
        step(KeyboardInterrupt())
    assert (caught.value.code, capsys.readouterr().err) == (130, "step.py: stopped by SIGINT\n")


def test_a_bug_keeps_its_traceback(step):
    with pytest.raises(ZeroDivisionError):
        step(ZeroDivisionError())


@pytest.mark.parametrize(
    ("asked", "gpu", "platforms"), [(None, False, "cpu"), (None, True, None), ("cuda", False, None)]
)
def test_scripts_stay_on_the_cpu_unless_their_job_has_a_gpu_to_itself(monkeypatch, asked, gpu, platforms):
    set_to = {}
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(cli, "jax", SimpleNamespace(config=SimpleNamespace(update=set_to.__setitem__)))
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    if asked:
        monkeypatch.setenv("JAX_PLATFORMS", asked)
    cli.run(lambda: None, gpu=gpu)
    assert set_to.pop("jax_enable_x64") and set_to.get("jax_platforms") == platforms


def test_scripts_that_take_a_gpu_are_those_whose_rules_ask_for_one():
    takes = {path.stem for path in (ROOT / "scripts").glob("*.py") if "cli.run(main, gpu=True)" in path.read_text()}
    workflow = "".join(path.read_text() for path in ROOT.glob("workflow/rules/*.smk"))
    _, *rules = re.split(r"^rule (\w+):$", workflow, flags=re.MULTILINE)
    assert takes == {name for name, body in zip(rules[::2], rules[1::2], strict=True) if "gpu=GPU" in body} != set()


def test_a_number_that_json_lacks_is_null(capsys):
    cli.print_result({"gap": float("nan"), "elbo": -float("inf"), "n": 3, "status": "nonfinite"})
    assert last_line(capsys.readouterr().out) == {"gap": None, "elbo": None, "n": 3, "status": "nonfinite"}


class Terminal(text.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(cli, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def run_progress(clock, seconds_per_step, steps, **options):
    progress = cli.Progress("saw n30_s0", 40, **options)
    for step in range(1, steps + 1):
        clock.seconds += seconds_per_step
        progress("distilled", step, -123.4567891 + step)
    progress.close()


def test_progress_on_a_terminal_is_one_line_in_place(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    monkeypatch.setenv("COLUMNS", "200")
    run_progress(clock, 0.5, 10)
    shown = stream.getvalue()
    assert shown.count("\r") == 10 and shown.count("\n") == 1 and shown.endswith("\n")
    assert "saw n30_s0 [distilled] 10/40 steps  ELBO -113.456789  2.0 steps/s  <= 15 s left" in shown.split("\r")[-1]


def test_progress_on_a_terminal_is_seldom_and_never_wraps(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    monkeypatch.setenv("COLUMNS", "30")
    run_progress(clock, 0.01, 40)
    lines = stream.getvalue().split("\r\x1b[K")
    assert lines[0] == "" and 1 <= len(lines[1:]) <= 2
    assert all(len(line.rstrip("\n")) == 29 for line in lines[1:])


def test_progress_in_a_log_is_sparse(clock, capsys):
    run_progress(clock, 1.0, 40)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and not re.search(r"[\r\x1b]", "".join(lines))
    assert lines[1].startswith("saw n30_s0 [distilled] 30/40 steps") and lines[1].endswith("<= 10 s left")


def test_progress_of_a_short_fit_says_nothing_in_a_log(clock, capsys):
    run_progress(clock, 0.1, 40)
    assert capsys.readouterr().err == ""


def test_progress_counts_on_when_the_next_start_begins(clock, capsys):
    progress = cli.Progress("x", 10, unit="observations", sparse=0)
    for start_name, step in [("a", 4), ("a", 10), ("b", 5)]:
        clock.seconds += 5
        progress(start_name, step, 0.0)
    assert "x [b] 5/10 observations  ELBO 0.000000  1.0 observations/s  <= 5 s left" in capsys.readouterr().err


def test_progress_does_not_count_what_an_earlier_process_did(clock, capsys):
    progress = cli.Progress("x", 100, sparse=0)
    clock.seconds += 20
    progress.resume(60)
    clock.seconds += 5
    progress("a", 70, 0.0)
    assert "70/100 steps  ELBO 0.000000  2.0 steps/s  <= 15 s left" in capsys.readouterr().err


def test_a_fit_reports_its_progress(many, monkeypatch):
    """fit_fvi counts observations of its data sets, fit_avi steps."""
    seconds = iter(range(0, 10**6, 20))
    monkeypatch.setattr(cli, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    err = call(many, "fit_fvi", "--data", "d.nc", "--output", "long.nc").err
    assert re.search(r"^F-VI \[linear n5_s2\] 10/10 observations  ELBO -\d", err, re.MULTILINE)
    flags = ["--data", "x.nc", "--fvi", "fvi_x.nc", "--family", NETWORK, "--fit", QUICK, "--output", "net.nc"]
    err = call(many, "fit_avi", *flags).err
    assert re.search(
        r"^linear n5_simported \[\w+\] [1-5]/5 steps  ELBO -\d.* steps/s  <= \d+ s left$", err, re.MULTILINE
    )


def test_tables_of_optima_coefficients_and_parts_agree_with_the_fits(many):
    (many / "linear").mkdir()
    for name, place in {"d.nc": "data.nc", "fvi_d.nc": "fvi.nc"}.items():
        shutil.copy(many / name, many / "linear" / place)
    succeed(many, "summarise_fvi", "--optima", "linear/fvi.nc", "--output", "fvi.csv")
    succeed(many, "coefficients", "--data", "d.nc", "--fits", FITS["d"], "--output", "coefficients.csv")
    flags = ["--data", "linear/data.nc", "--fvi", "linear/fvi.nc", "--fits", FITS["d"]]
    succeed(many, "decompose", *flags, "--output", "parts.csv")
    fvi, coefficients, parts, gap = (pd.read_csv(many / f"{n}.csv") for n in ("fvi", "coefficients", "parts", "gap"))
    own = gap[gap.seed.notna()].reset_index()
    assert fvi.seed.tolist() == coefficients.seed.tolist() == [1, 2] and set(fvi.experiment) == {"linear"}
    assert np.allclose(fvi.elbo, own.elbo_fvi) and np.allclose(fvi.missed, 0)
    assert np.allclose(coefficients.slope, 1.155 / (1.155**2 + 2.43**2))
    assert np.allclose(coefficients.variance, 2.43**2 / (1.155**2 + 2.43**2))
    assert np.allclose(coefficients.intercept, -coefficients.slope * coefficients.x_mean)
    (part,) = parts.itertuples()
    assert part.approximation_gap == pytest.approx(np.log(1 + (1.155 / 2.43) ** 2) / 2 / 5)
    assert part.amortization_gap == pytest.approx(own.gap_per_obs[0], abs=1e-12) and part.num_obs == 5
    assert part.generalization_gap == pytest.approx(own.held_out_gap_per_obs[0] - own.gap_per_obs[0], abs=1e-12)
    assert part.pareto_k < 0.7 and part.pareto_k_fvi < 0.7


def test_a_proper_prior_has_no_coefficients_of_the_proposition():
    with pytest.raises(InputError, match="theta_scale must be null"):
        ideal_function(np.zeros(3), {"tau": 1.0, "sigma": 1.0, "theta_scale": 2.0})
