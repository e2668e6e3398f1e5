# Figures of the replays and of what explains the published numbers.
PATHS = [run for run in RUNS if REPLAYS[Path(run).parent.name]["mode"] != "corrected"]
HAS_MODES = {"as_coded", "fair"} <= {entry["mode"] for entry in REPLAYS.values()}
HAS_NOISE = {"linear_noise", "linear_noise_decay"} <= set(REPLAYS)
NOISE_SETTINGS = EXPERIMENTS[REPLAYS["linear_noise"]["of"]["experiment"]]["settings"] if HAS_NOISE else {}
HAS_DRAWS = any(name.startswith("nonlinear_draws") for name in REPLAYS)
HAS_SIZES = any(entry["mode"] == "fair" and len(entry["of"]["num_obs"]) > 1 for entry in REPLAYS.values())

REPLAY_FIGURES = [
    f"{FIGURES}/{figure}.{suffix}"
    for figure, is_shown in {
        "elbo_paths": HAS_MODES,
        "convergence_boxes": HAS_MODES,
        "convergence_survival": HAS_MODES,
        "learning_rates": HAS_MODES,
        "time_to_gap": HAS_SIZES,
        "noise_floor": HAS_NOISE,
        "nan_rule": {"nonlinear_nan", "nonlinear_nan_squares"} <= set(REPLAYS),
        "missed_mode": MISSED and HAS_DRAWS,
        "hmm_example": True,
        "gap_decomposition": True,
        "ledger": True,
    }.items()
    if is_shown
    for suffix in ("pdf", "png")
]


rule plot_elbo_paths:
    input:
        script="scripts/plot_elbo_paths.py",
        package=package_files("plot_elbo_paths", *MODELS_REPLAYED),
        replay=f"{RESULTS}/replay.csv",
        runs=PATHS,
    output:
        multiext(f"{FIGURES}/elbo_paths", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_elbo_paths.log",
    benchmark:
        f"{BENCHMARKS}/plot_elbo_paths.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --replay {input.replay:q} --runs {input.runs:q}"
        " --output {output:q} > {log:q} 2>&1"


rule plot_convergence_boxes:
    input:
        script="scripts/plot_convergence_boxes.py",
        package=package_files("plot_convergence_boxes"),
        replay=[f"{RESULTS}/replay.csv", "reference/full_replay.csv"],
        reference=REFERENCE,
        schema="workflow/schemas/ledger.schema.yaml",
    output:
        multiext(f"{FIGURES}/convergence_boxes", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_convergence_boxes.log",
    benchmark:
        f"{BENCHMARKS}/plot_convergence_boxes.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --replay {input.replay:q} --reference {input.reference:q}"
        " --schema {input.schema:q}"
        " --output {output:q} > {log:q} 2>&1"


rule plot_convergence_survival:
    input:
        script="scripts/plot_convergence_survival.py",
        package=package_files("plot_convergence_survival"),
        replay=[f"{RESULTS}/replay.csv", "reference/full_replay.csv"],
    output:
        multiext(f"{FIGURES}/convergence_survival", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_convergence_survival.log",
    benchmark:
        f"{BENCHMARKS}/plot_convergence_survival.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --replay {input.replay:q}" " --output {output:q} > {log:q} 2>&1"


rule plot_learning_rates:
    input:
        script="scripts/plot_learning_rates.py",
        package=package_files("plot_learning_rates"),
        replay=f"{RESULTS}/replay.csv",
    output:
        multiext(f"{FIGURES}/learning_rates", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_learning_rates.log",
    benchmark:
        f"{BENCHMARKS}/plot_learning_rates.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --replay {input.replay:q}" " --output {output:q} > {log:q} 2>&1"


rule plot_time_to_gap:
    input:
        script="scripts/plot_time_to_gap.py",
        package=package_files("plot_time_to_gap"),
        replay=f"{RESULTS}/replay.csv",
    output:
        multiext(f"{FIGURES}/time_to_gap", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_time_to_gap.log",
    benchmark:
        f"{BENCHMARKS}/plot_time_to_gap.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --replay {input.replay:q}" " --output {output:q} > {log:q} 2>&1"


rule plot_noise_floor:
    input:
        script="scripts/plot_noise_floor.py",
        package=package_files("plot_noise_floor", "models/linear"),
        replay=f"{RESULTS}/replay.csv",
    output:
        multiext(f"{FIGURES}/noise_floor", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_noise_floor.log",
    benchmark:
        f"{BENCHMARKS}/plot_noise_floor.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        settings=as_json(NOISE_SETTINGS),
    shell:
        "NPROC={threads} python {input.script:q} --replay {input.replay:q} --settings {params.settings:q}"
        " --output {output:q} > {log:q} 2>&1"


rule plot_nan_rule:
    input:
        script="scripts/plot_nan_rule.py",
        package=package_files("plot_nan_rule"),
        replay=f"{RESULTS}/replay.csv",
    output:
        multiext(f"{FIGURES}/nan_rule", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_nan_rule.log",
    benchmark:
        f"{BENCHMARKS}/plot_nan_rule.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --replay {input.replay:q}" " --output {output:q} > {log:q} 2>&1"


rule plot_missed_mode:
    input:
        script="scripts/plot_missed_mode.py",
        package=package_files("plot_missed_mode"),
        starts=f"{RESULTS}/missed_mode.csv",
        replay=f"{RESULTS}/replay.csv",
        gap=f"{RESULTS}/gap.csv",
    output:
        multiext(f"{FIGURES}/missed_mode", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_missed_mode.log",
    benchmark:
        f"{BENCHMARKS}/plot_missed_mode.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        experiment=lambda w: MISSED[0],
    shell:
        "NPROC={threads} python {input.script:q} --starts {input.starts:q} --replay {input.replay:q} --gap {input.gap:q}"
        " --experiment {params.experiment:q}"
        " --output {output:q} > {log:q} 2>&1"


rule plot_hmm_example:
    input:
        script="scripts/plot_hmm_example.py",
        package=package_files("plot_hmm_example"),
        example=f"{RESULTS}/hmm_example.csv",
    output:
        multiext(f"{FIGURES}/hmm_example", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_hmm_example.log",
    benchmark:
        f"{BENCHMARKS}/plot_hmm_example.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --example {input.example:q}" " --output {output:q} > {log:q} 2>&1"


rule plot_gap_decomposition:
    input:
        script="scripts/plot_gap_decomposition.py",
        package=package_files("plot_gap_decomposition"),
        parts=[f"{RESULTS}/{name}/decomposition.csv" for name in SHOWN],
    output:
        multiext(f"{FIGURES}/gap_decomposition", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_gap_decomposition.log",
    benchmark:
        f"{BENCHMARKS}/plot_gap_decomposition.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --parts {input.parts:q}" " --output {output:q} > {log:q} 2>&1"


rule plot_ledger:
    input:
        script="scripts/plot_ledger.py",
        package=package_files("plot_ledger"),
        ledger=f"{RESULTS}/ledger.csv",
    output:
        multiext(f"{FIGURES}/ledger", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_ledger.log",
    benchmark:
        f"{BENCHMARKS}/plot_ledger.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --ledger {input.ledger:q}" " --output {output:q} > {log:q} 2>&1"
