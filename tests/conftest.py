"""Every test computes in float64; tests, and the programs that they start, share a compilation cache."""

import os
import shutil
import tempfile
from pathlib import Path

if owns_cache := "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # the workers of pytest-xdist inherit it
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="avigap_tests_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    # Quicker to compile, slower to run: the suite compiles for most of its time. It changes nothing but rounding.
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
    quick = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick}"

import jax
import pytest

jax.config.update("jax_enable_x64", True)


def pytest_unconfigure():
    """Remove the cache if this process made it."""
    if owns_cache:
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


FIRST = ("test_tutorial", "test_workflow", "test_condition", "test_images")
"""Modules that take longest: begun last, one of them would keep a single worker at the end."""


def pytest_collection_modifyitems(items):
    """Put the modules that take longest first."""
    items.sort(key=lambda item: FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST))


MAPS, MOST_MAPS = Path("/proc/self/maps"), 20_000
"""Linux lets a process have 65,530 maps of memory, each compiled program takes a few, and XLA crashes without any."""


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """Forget the compiled programs of the modules so far once they are many."""
    yield
    if MAPS.exists() and len(MAPS.read_bytes().splitlines()) > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture
def full_compilation():
    """Compile as usual after all, for a test whose functions run long."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
