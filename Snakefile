"""Replication of Margossian and Blei (2024): data, F-VI and A-VI fits, gap-versus-N figures."""

import platform

from snakemake.utils import min_version

min_version("9.0")


# Jobs of one run compile the same programs: they share a cache, kept apart by machine, for compiled code does not travel.
shell.prefix(
    f"set -euo pipefail; export JAX_COMPILATION_CACHE_DIR=$PWD/.jax_cache/{platform.node()}"
    " JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1"
    # Two jobs side by side whose LAPACK has two threads each wait for each other: a Cholesky factor took 200 times as long.
    " OPENBLAS_NUM_THREADS=1"
    # Vectors of 10^6 numbers on large pages, where glibc and the kernel offer them: a quarter less time of such fits.
    " GLIBC_TUNABLES=glibc.malloc.hugetlb=1"
    # Jobs of networks compile for half of their time, and take a fifth less of it without these emitters of code.
    ' XLA_FLAGS="${{XLA_FLAGS:-}} --xla_cpu_use_fusion_emitters=false"; '
)


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/replay.smk"
include: "workflow/rules/ledger.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/figures_replay.smk"
include: "workflow/rules/programs.smk"
include: "workflow/rules/images.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        [f"{RESULTS}/gap.csv", f"{RESULTS}/ledger.csv", FIGURE_FILES, REPLAY_FIGURES] if EXPERIMENTS else [],
        PROGRAM_FILES,
        IMAGE_FILES,
