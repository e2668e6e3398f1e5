"""Replication of Margossian and Blei (2024): data, F-VI and A-VI fits, gap-versus-N figures."""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/figures.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        f"{RESULTS}/gap.csv",
        FIGURE_FILES,
