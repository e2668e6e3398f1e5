"""The lock, the conda environment and pyproject.toml name the same packages, and pin what they must pin."""

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from avigap.sources import imported_files

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
LOCK = (ROOT / "envs" / "requirements.lock").read_text(encoding="utf-8")
CUDA = (ROOT / "envs" / "cuda.lock").read_text(encoding="utf-8")
CONDA = (ROOT / "envs" / "avigap.yaml").read_text(encoding="utf-8")

PYTHONS = ("3.11", "3.12", "3.13")
SYSTEMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))
EXTRAS = r"(?:\[[\w,-]+\])?"
CONDA_NAMES = {"matplotlib-base": "matplotlib"}
FOREIGN = re.compile(
    r"://|www\.|localhost|\b[\w-]+(\.[\w-]+)*\.(org|com|net|io|dev|edu|eu|de|lan|local|internal)\b"
    r"|(?:^|[\s='\"])(?:/|~/|\.\./|[A-Za-z]:\\)\w|--(?:extra-)?index-url|--find-links|--trusted-host",
    re.MULTILINE,
)


class Pin(NamedTuple):
    requirement: Requirement
    version: Version
    hashes: list[str]


def environments(pythons=PYTHONS):
    return [
        {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "sys_platform": sys_platform,
            "platform_system": platform_system,
            "platform_machine": machine,
            "os_name": "posix",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "extra": "",
        }
        for python in pythons
        for sys_platform, platform_system, machine in SYSTEMS
    ]


def lock_pins(lock: str) -> list[Pin]:
    logical_lines = re.sub(r"^\s*#.*\n", "", lock, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    pins = []
    for line in filter(str.strip, logical_lines):
        text, *hashes = re.split(r"\s+--hash=", line.strip())
        requirement = Requirement(text)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{requirement} is no pin"
        pins.append(Pin(requirement, Version(specifier.version), hashes))
    return pins


def pinned(pins: list[Pin], name: str, environment: dict[str, str]) -> list[Version]:
    """The versions that the lock installs of a package: one, if all is well."""
    return [
        pin.version
        for pin in pins
        if canonicalize_name(pin.requirement.name) == canonicalize_name(name)
        and (pin.requirement.marker is None or pin.requirement.marker.evaluate(environment))
    ]


def runtime_requirements(pyproject: str) -> list[Requirement]:
    return [Requirement(text) for text in tomllib.loads(pyproject)["project"]["dependencies"]]


def direct_requirements(pyproject: str) -> list[Requirement]:
    table = tomllib.loads(pyproject)
    extras = [text for extra in table["project"]["optional-dependencies"].values() for text in extra]
    return runtime_requirements(pyproject) + [Requirement(text) for text in extras + table["build-system"]["requires"]]


def unmet_in_lock(pyproject: str, lock: str) -> list[str]:
    """Every direct requirement that the lock does not pin, once and within its bounds, on every Python and system."""
    pins = lock_pins(lock)
    return [
        f"{requirement}: {[str(version) for version in found]} on Python {environment['python_version']}"
        for requirement in direct_requirements(pyproject)
        for environment in environments()
        if requirement.marker is None or requirement.marker.evaluate(environment)
        for found in [pinned(pins, requirement.name, environment)]
        if len(found) != 1 or found[0] not in requirement.specifier
    ]


def conda_pins(conda: str) -> dict[str, str]:
    """Canonical names and versions, python among them."""
    pins = {}
    for entry in yaml.safe_load(conda)["dependencies"]:
        name, separator, version = entry.partition("=")
        assert separator and re.fullmatch(r"\d+(\.\d+)*", version), f"{entry!r} is not of the form name=version"
        pins[canonicalize_name(CONDA_NAMES.get(name, name))] = version
    return pins


def conda_disagreements(pyproject: str, lock: str, conda: str) -> list[str]:
    """Where the conda environment differs from the lock, in names or in versions."""
    theirs = conda_pins(conda)
    pins, environment_list = lock_pins(lock), environments([theirs.pop("python")])
    names = {canonicalize_name(requirement.name) for requirement in runtime_requirements(pyproject)}
    ours = {name: {str(v) for env in environment_list for v in pinned(pins, name, env)} for name in names}
    return [
        f"{name}: conda {theirs.get(name)}, lock {sorted(ours.get(name, set()))}"
        for name in sorted(names | set(theirs))
        if {theirs.get(name)} != ours.get(name)
    ]


def test_every_direct_dependency_is_pinned_in_the_lock():
    assert unmet_in_lock(PYPROJECT, LOCK) == []


def test_every_pin_has_hashes():
    pins = lock_pins(LOCK)
    assert len(pins) > len(direct_requirements(PYPROJECT))
    for pin in pins + lock_pins(CUDA):
        assert pin.hashes, f"{pin.requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in pin.hashes), pin.requirement


def test_no_package_is_pinned_twice():
    pins = lock_pins(LOCK) + lock_pins(CUDA)
    for environment in environments():
        for name in {pin.requirement.name for pin in pins}:
            assert len(pinned(pins, name, environment)) <= 1, (name, environment)


def test_one_jax_for_every_python():
    pins = lock_pins(LOCK)
    for name in ("jax", "jaxlib"):
        assert len({version for env in environments() for version in pinned(pins, name, env)}) == 1


def test_the_plug_in_for_gpus_is_that_of_the_locked_jax():
    of_jax = {version for env in environments() for version in pinned(lock_pins(LOCK), "jaxlib", env)}
    pins = {canonicalize_name(pin.requirement.name): pin.version for pin in lock_pins(CUDA)}
    assert {pins["jax-cuda12-plugin"], pins["jax-cuda12-pjrt"]} == of_jax and "nvidia-cudnn-cu12" in pins


def test_conda_environment_equals_the_lock():
    assert conda_disagreements(PYPROJECT, LOCK, CONDA) == []


def test_conda_environment_is_for_a_supported_python():
    assert conda_pins(CONDA)["python"] in PYTHONS


@pytest.mark.parametrize("text", [LOCK, CUDA, CONDA], ids=["lock", "cuda", "conda"])
def test_no_host_url_or_absolute_path(text):
    found = FOREIGN.search(text)
    assert found is None, found


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://packages.example/simple",
        "jax @ file:///opt/wheels/jax.whl",
        "# via -r /tmp/req.in",
        "--find-links wheels",
        "# uv pip compile --index-url=mirror.example.org",
        "jax==0.10.2 # from pypi.org",
    ],
)
def test_a_host_url_or_absolute_path_is_noticed(line):
    assert FOREIGN.search(LOCK + line + "\n")


def change_pin(text: str, name: str, separator: str) -> str:
    changed = re.sub(rf"(?m)^(\W*{name}{separator})\d+", r"\g<1>999", text)
    assert changed != text
    return changed


@pytest.mark.parametrize("name", sorted(requirement.name for requirement in runtime_requirements(PYPROJECT)))
def test_a_drifted_pin_is_noticed(name):
    conda_name = next((conda for conda, ours in CONDA_NAMES.items() if ours == name), name)
    drifted_lock = change_pin(LOCK, re.escape(name), EXTRAS + "==")
    drifted_conda = change_pin(CONDA, re.escape(conda_name), "=")
    without = "".join(line for line in CONDA.splitlines(True) if f"- {conda_name}=" not in line)
    for lock, conda in [(drifted_lock, CONDA), (LOCK, drifted_conda), (LOCK, without)]:
        assert [line.split(":")[0] for line in conda_disagreements(PYPROJECT, lock, conda)] == [name]


@pytest.mark.parametrize("name", sorted({requirement.name for requirement in direct_requirements(PYPROJECT)}))
def test_a_pin_missing_from_the_lock_is_noticed(name):
    without = re.sub(rf"(?m)^{re.escape(canonicalize_name(name))}({EXTRAS}==)", rf"not-{name}\1", LOCK)
    assert any(line.startswith(name) for line in unmet_in_lock(PYPROJECT, without))


def test_a_pin_outside_its_bounds_is_noticed():
    assert any(line.startswith("jax<0.11") for line in unmet_in_lock(PYPROJECT, change_pin(LOCK, "jax", "==")))


def test_a_dependency_added_to_pyproject_alone_is_noticed():
    added = PYPROJECT.replace("dependencies = [\n", 'dependencies = [\n    "a-new-package",\n', 1)
    assert any(line.startswith("a-new-package") for line in unmet_in_lock(added, LOCK))
    assert any(line.startswith("a-new-package") for line in conda_disagreements(added, LOCK, CONDA))


def test_every_extra_that_a_package_asks_for_is_named_in_the_lock():
    """Else pip looks for a newer release that has the extra, and refuses it for want of a hash."""
    locked = {canonicalize_name(pin.requirement.name): pin.requirement.extras for pin in lock_pins(LOCK)}
    asked = [Requirement(text) for dist in distributions() for text in dist.requires or []]
    missing = {
        str(need)
        for need in asked
        if need.extras and (need.marker is None or need.marker.evaluate({"extra": ""}))
        if canonicalize_name(need.name) in locked and not need.extras <= locked[canonicalize_name(need.name)]
    }
    assert missing == set()


def test_a_malformed_lock_is_refused():
    with pytest.raises(InvalidRequirement):
        lock_pins(LOCK + "jax=0.10.2\n")


def test_no_step_of_the_workflow_depends_on_the_verdict_or_the_guide_of_any_program():
    """An edit of either would run everything again, but the study of programs of the user's own."""
    own = re.findall(r"^rule (\w+):", (ROOT / "workflow/rules/programs.smk").read_text(encoding="utf-8"), re.M)
    own += ["reference_posterior"]
    steps = [path for path in (ROOT / "scripts").glob("*.py") if path.stem not in own]
    assert {"check_condition", "fit_ladder"} <= set(own)
    assert {"program_guide.py", "condition.py", "program.py"}.isdisjoint(p.name for p in imported_files(steps))
