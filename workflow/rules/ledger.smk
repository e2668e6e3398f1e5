# The affine fits of the linear model that Proposition 3.6 speaks of: the first experiment that has them.
AFFINE = [
    (name, key)
    for name, entry in EXPERIMENTS.items()
    for key, family in entry["families"].items()
    if entry["model"] == "linear"
    and {"degree": 1, "inputs": [0], **family} == {"kind": "polynomial", "degree": 1, "inputs": [0]}
][:1]
# Published nonlinear data, whose optimum a local method misses.
MISSED = [name for name, e in EXPERIMENTS.items() if e["model"] == "nonlinear" and name in IMPORTED][:1]
REFERENCE = "reference/ledger.yaml"
KEPT = [f"reference/{name}.csv" for name in ("authors", "full_replay", "full_images", "long_images")]
TABLES = [
    f"{RESULTS}/{table}.csv"
    for table, is_made in {
        "gap": True,
        "fvi": True,
        "hmm_example": True,
        "coefficients": AFFINE,
        "replay": REPLAYS,
        "images": IMAGES,
    }.items()
    if is_made
]


rule summarise_fvi:
    input:
        script="scripts/summarise_fvi.py",
        package=package_files("summarise_fvi", *{f"models/{entry['model']}" for entry in EXPERIMENTS.values()}),
        data=expand(f"{RESULTS}/{{experiment}}/data.nc", experiment=EXPERIMENTS),
        optima=expand(f"{RESULTS}/{{experiment}}/fvi.nc", experiment=EXPERIMENTS),
    output:
        f"{RESULTS}/fvi.csv",
    log:
        f"{LOGS}/summarise_fvi.log",
    benchmark:
        f"{BENCHMARKS}/summarise_fvi.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --optima {input.optima:q} --output {output:q} > {log:q} 2>&1"


rule coefficients:
    input:
        script="scripts/coefficients.py",
        package=package_files("coefficients", "families/polynomial"),
        data=[f"{RESULTS}/{name}/data.nc" for name, _ in AFFINE],
        fits=[f"{RESULTS}/{name}/avi/{family}.nc" for name, family in AFFINE],
    output:
        f"{RESULTS}/coefficients.csv",
    log:
        f"{LOGS}/coefficients.log",
    benchmark:
        f"{BENCHMARKS}/coefficients.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --data {input.data:q} --fits {input.fits:q}"
        " --output {output:q} > {log:q} 2>&1"


rule hmm_example:
    input:
        script="scripts/hmm_example.py",
        package=package_files("hmm_example", "models/hmm"),
    output:
        f"{RESULTS}/hmm_example.csv",
    log:
        f"{LOGS}/hmm_example.log",
    benchmark:
        f"{BENCHMARKS}/hmm_example.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --output {output:q} > {log:q} 2>&1"


rule ledger:
    input:
        script="scripts/ledger.py",
        package=package_files("ledger"),
        reference=REFERENCE,
        schema="workflow/schemas/ledger.schema.yaml",
        tables=TABLES + KEPT,
    output:
        f"{RESULTS}/ledger.csv",
    log:
        f"{LOGS}/ledger.log",
    benchmark:
        f"{BENCHMARKS}/ledger.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --reference {input.reference:q} --schema {input.schema:q}"
        " --tables {input.tables:q} --output {output:q} > {log:q} 2>&1"


rule missed_mode:
    input:
        script="scripts/missed_mode.py",
        package=package_files("missed_mode", "models/nonlinear"),
        data=[f"{RESULTS}/{name}/data.nc" for name in MISSED],
        fvi=[f"{RESULTS}/{name}/fvi.nc" for name in MISSED],
    output:
        f"{RESULTS}/missed_mode.csv",
    log:
        f"{LOGS}/missed_mode.log",
    benchmark:
        f"{BENCHMARKS}/missed_mode.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --data {input.data:q} --fvi {input.fvi:q}"
        " --output {output:q} > {log:q} 2>&1"


rule decompose:
    input:
        script="scripts/decompose.py",
        package=lambda w: package_files("decompose", *model_and_family_files([w.experiment])),
        data=f"{RESULTS}/{{experiment}}/data.nc",
        fvi=f"{RESULTS}/{{experiment}}/fvi.nc",
        fits=lambda w: [f"{RESULTS}/{w.experiment}/avi/{family}.nc" for family in EXPERIMENTS[w.experiment]["families"]],
    output:
        f"{RESULTS}/{{experiment}}/decomposition.csv",
    log:
        f"{LOGS}/decompose/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/decompose/{{experiment}}.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --data {input.data:q} --fvi {input.fvi:q} --fits {input.fits:q}"
        " --output {output:q} > {log:q} 2>&1"
