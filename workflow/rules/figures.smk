NETWORKS = {
    name: own
    for name, entry in EXPERIMENTS.items()
    if (own := {key: family for key, family in entry["families"].items() if family["kind"] == "mlp"})
}
WINDOWS = {
    name: own
    for name, entry in EXPERIMENTS.items()
    if entry["model"] == "hmm" and (own := {key: f for key, f in entry["families"].items() if is_linear_window(f)})
}
# Networks of x_n alone, which can be drawn beside the ideal function of x_n.
FUNCTIONS = [
    f"{RESULTS}/{name}/avi/{key}.nc"
    for name, own in NETWORKS.items()
    for key, family in own.items()
    if EXPERIMENTS[name]["model"] == "nonlinear" and family.get("inputs", [0]) == [0]
]
IDEAL = [name for name in EXPERIMENTS if any(fit.startswith(f"{RESULTS}/{name}/") for fit in FUNCTIONS)]
FIGURE_FILES = [
    f"{FIGURES}/{figure}.{suffix}"
    for figure, is_shown in {
        "gap_versus_n": True,
        "parameters_versus_n": True,
        "gap_versus_width": NETWORKS,
        "window_law": WINDOWS,
        "ideal_function": FUNCTIONS,
        "data_and_fit": True,
    }.items()
    if is_shown
    for suffix in ("pdf", "png")
]


rule plot_gap_versus_n:
    input:
        script="scripts/plot_gap_versus_n.py",
        package=package_files("plot_gap_versus_n"),
        gap=f"{RESULTS}/gap.csv",
    output:
        multiext(f"{FIGURES}/gap_versus_n", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_gap_versus_n.log",
    benchmark:
        f"{BENCHMARKS}/plot_gap_versus_n.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --gap {input.gap:q} --output {output:q} > {log:q} 2>&1"


rule plot_parameters_versus_n:
    input:
        script="scripts/plot_parameters_versus_n.py",
        package=package_files("plot_parameters_versus_n"),
        gap=f"{RESULTS}/gap.csv",
    output:
        multiext(f"{FIGURES}/parameters_versus_n", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_parameters_versus_n.log",
    benchmark:
        f"{BENCHMARKS}/plot_parameters_versus_n.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --gap {input.gap:q} --output {output:q} > {log:q} 2>&1"


rule plot_gap_versus_width:
    input:
        script="scripts/plot_gap_versus_width.py",
        package=package_files("plot_gap_versus_width"),
        gap=f"{RESULTS}/gap.csv",
    output:
        multiext(f"{FIGURES}/gap_versus_width", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_gap_versus_width.log",
    benchmark:
        f"{BENCHMARKS}/plot_gap_versus_width.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        families=lambda w: as_json(NETWORKS),
    shell:
        "NPROC={threads} python {input.script:q} --gap {input.gap:q} --families {params.families:q}"
        " --output {output:q} > {log:q} 2>&1"


rule plot_window_law:
    input:
        script="scripts/plot_window_law.py",
        package=package_files("plot_window_law"),
        gap=f"{RESULTS}/gap.csv",
    output:
        multiext(f"{FIGURES}/window_law", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_window_law.log",
    benchmark:
        f"{BENCHMARKS}/plot_window_law.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        families=lambda w: as_json(WINDOWS),
    shell:
        "NPROC={threads} python {input.script:q} --gap {input.gap:q} --families {params.families:q}"
        " --output {output:q} > {log:q} 2>&1"


rule plot_ideal_function:
    input:
        script="scripts/plot_ideal_function.py",
        package=package_files("plot_ideal_function", *model_and_family_files(IDEAL)),
        gap=f"{RESULTS}/gap.csv",
        data=[f"{RESULTS}/{name}/data.nc" for name in IDEAL],
        fvi=[f"{RESULTS}/{name}/fvi.nc" for name in IDEAL],
        fits=FUNCTIONS,
    output:
        multiext(f"{FIGURES}/ideal_function", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_ideal_function.log",
    benchmark:
        f"{BENCHMARKS}/plot_ideal_function.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --gap {input.gap:q} --data {input.data:q} --fvi {input.fvi:q}"
        " --fits {input.fits:q} --output {output:q} > {log:q} 2>&1"


rule plot_data_and_fit:
    input:
        script="scripts/plot_data_and_fit.py",
        package=package_files("plot_data_and_fit", *model_and_family_files(SHOWN)),
        gap=f"{RESULTS}/gap.csv",
        data=[f"{RESULTS}/{name}/data.nc" for name in SHOWN],
        fvi=[f"{RESULTS}/{name}/fvi.nc" for name in SHOWN],
        fits=[f"{RESULTS}/{name}/avi/{family}.nc" for name in SHOWN for family in EXPERIMENTS[name]["families"]],
    output:
        multiext(f"{FIGURES}/data_and_fit", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_data_and_fit.log",
    benchmark:
        f"{BENCHMARKS}/plot_data_and_fit.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --gap {input.gap:q} --data {input.data:q} --fvi {input.fvi:q}"
        " --fits {input.fits:q} --output {output:q} > {log:q} 2>&1"
