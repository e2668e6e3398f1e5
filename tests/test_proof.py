"""Verdicts that need many rows, or the user's own data; what is proved in them, and that units do not matter."""

import os
import subprocess
import sys

import large
import numpy as np
import pytest
from programs import ROOT

from avigap.condition.check import check_condition
from avigap.program.arguments import bind_program

RANDOM = np.random.default_rng(0)
Y = RANDOM.standard_normal(40)
ROOM = np.repeat(np.arange(7), [20, 3, 9, 1, 5, 1, 1])
DATA = {
    "repeated": {"y": Y, "subject": np.repeat(np.arange(10), 4)},
    "two_groups": {"y": Y, "treated": np.repeat([0.0, 1.0], 20)},
    "pupils": {"y": Y, "room": ROOM},
    "island": {"y": Y[:12]},
    "above_fifty": {"x": np.concatenate([Y[:20], Y[20:] + 60])},
    "standardised": {"y": Y, "t": Y[::-1].copy()},
    "floored": {"y": Y, "t": 5 * Y[::-1]},
    "switched": {"y": Y, "t": Y[::-1].copy()},
    "drifting_panel": {"y": Y[:36].reshape(12, 3)},
    "steady_panel": {"y": Y[:36].reshape(12, 3)},
    "hazards": {"time": np.abs(Y), "died": (Y > 0).astype(int)},
}
YES = {"attainable": "yes", "inputs": [0], "needs_index": False}
GROUP = {"attainable": "wider_input", "rule": "group", "inputs": [0], "needs_index": False}
EXPECTED = {
    "season": {"attainable": "no", "attainable_here": False},
    "yearly_saw": {"attainable": "wider_input", "inputs": [-12, 0], "edges": list(range(12)), "needs_index": False},
    "change_point": {"attainable": "wider_input", "inputs": [0], "needs_index": True},
    "walk": {"attainable": "no", "attainable_here": None},
    "repeated": GROUP | {"group": "subjects", "group_bounded": False, "group_column": "subject"},
    "two_groups": GROUP | {"group": "arms", "group_bounded": False, "covariates": ["treated"]},
    "classes": {"attainable": "wider_input", "rule": "group", "group_bounded": True, "needs_index": True},
    "pupils": YES | {"covariates": ["room"]},
    "mirrored": {"attainable": "wider_input", "rule": "index_map", "needs_index": True},
    "tree": {"attainable": "wider_input", "rule": "index_map", "needs_index": True},
    "island": {"attainable": "no"},
    "three_groups": GROUP | {"group": "groups", "group_bounded": False},
    "alternating": {"attainable": "wider_input", "needs_index": True},
    "above_fifty": {"attainable": "no"},
    "median": YES,
    "standardised": YES | {"covariates": ["t"]},
    "changing_variance": {"attainable": "no", "rule": "many_rows"},
    "floored": YES | {"covariates": ["t"]},
    "switched": YES | {"covariates": ["t"], "inactive": {}},
    "drifting_panel": {"attainable": "wider_input", "inputs": [-1, 0], "needs_index": True},
    "steady_panel": {"attainable": "wider_input", "inputs": [-1, 0], "needs_index": False},
    "weighted_members": {"attainable": "wider_input", "group": "groups", "needs_index": True},
    "hazards": {"attainable": "no", "covariates": ["time", "died"]},
}


def check(name, data=None, **settings):
    columns = DATA.get(name, {}) if data is None else data
    return check_condition(bind_program(getattr(large, name), settings, columns, 6))


@pytest.mark.parametrize("name", EXPECTED)
def test_verdict(name):
    verdict = check(name)._asdict()
    assert {key: verdict[key] for key in EXPECTED[name]} == EXPECTED[name], verdict["reason"]
    assert not verdict["dense"] and verdict["points"] == 6


def test_an_index_map_holds_the_rows_of_each_position():
    assert check("mirrored").index_map[:2] == [[199], [198]]
    assert check("tree").index_map[3:6] == [[1, 3], [1, 4], [2, 5]]
    assert check("classes").index_map[25] == list(range(20, 40))


def test_a_group_with_its_own_effect_is_bounded_though_the_first_rows_lie_in_one():
    """With both latents local the pupils of a class are coupled by its effect."""
    program = bind_program(large.pupils, {}, DATA["pupils"], 6)
    verdict = check_condition(program, local=("c", "z"))
    assert (verdict.attainable, verdict.group_bounded) == ("wider_input", True)


def test_what_is_switched_off_at_these_data_is_named():
    """Where no datum is above fifty, nothing is coupled at these data, and it is said by which argument."""
    verdict = check("above_fifty", {"x": Y})
    assert verdict.attainable == "yes" and verdict.inactive == {"x": 39} and not verdict.num_unsettled


@pytest.mark.parametrize("name", ["repeated", "yearly_saw", "standardised", "median", "steady_panel"])
def test_sharing_is_proved_at_all_positions(name):
    assert check(name).evidence["sharing"] == "proved" and check(name).evidence["coupling"] == "proved"


@pytest.mark.parametrize("name", ["change_point", "alternating"])
def test_a_difference_is_shown_by_values(name):
    assert check(name).evidence["sharing"] == "differs"


UNITS = (1e-6, 1e6)
SAME = ("attainable", "attainable_here", "inputs", "covariates", "needs_index", "group", "rule")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", ["repeated", "two_groups", "standardised", "switched", "hazards"])
def test_units_do_not_matter(name, unit):
    """Data in other units, decimals for whole numbers, an unused column: the answer is the same."""
    scaled = {n: c * unit if c.dtype.kind == "f" and n != "treated" else c for n, c in DATA[name].items()}
    first = check(name)
    for data in (scaled, DATA[name] | {"unused": Y}):
        again = check(name, data)
        assert {key: getattr(first, key) for key in SAME} == {key: getattr(again, key) for key in SAME}


@pytest.mark.parametrize(("step", "noise"), [(1e6, 0.1), (1.0, 1e-6), (1e-6, 1.0), (1.0, 1.0)])
def test_a_walk_is_coupled_in_any_units(step, noise):
    verdict = check("walk", step=step, noise=noise)
    assert verdict.attainable == "no" and verdict.evidence["coupling"] == "seen" and not verdict.num_unsettled


@pytest.mark.parametrize("name", ["repeated", "standardised", "floored"])
def test_rows_in_another_order_have_the_same_verdict(name):
    order = np.random.default_rng(1).permutation(40)
    first, again = check(name), check(name, {n: c[order] for n, c in DATA[name].items()})
    assert {key: getattr(first, key) for key in SAME} == {key: getattr(again, key) for key in SAME}


def test_the_answer_is_the_same_in_a_process_without_float64():
    """The check computes in float64 whatever JAX is set to."""
    script = "import numpy as np, large; from avigap.condition.check import check_condition as check\n"
    script += "from avigap.program.arguments import bind_program as bind\n"
    script += "y = np.linspace(-1, 1, 40)\n"
    script += "data = {'repeated': {'y': y, 'subject': np.repeat(np.arange(10), 4)}, 'walk': {}}\n"
    script += "for name, own in data.items():\n"
    script += "    found = check(bind(getattr(large, name), {}, own, 6))\n"
    script += "    print(found.attainable, found.evidence['coupling'], found.num_unsettled)\n"
    environment = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_X64"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=ROOT / "tests", check=True
    )
    assert done.stdout.splitlines() == ["wider_input proved 0", "no seen 0"]
