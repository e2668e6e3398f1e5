# Programs of the user's own: verdict, data, F-VI, a ladder of inference functions, and what follows from them.
PROGRAM_FILES = (
    [f"{RESULTS}/programs.csv", f"{RESULTS}/programs.md"]
    + [f"{FIGURES}/{stem}.{suffix}" for stem in ("program_gaps", "program_parts") for suffix in ("pdf", "png")]
    + [f"{RESULTS}/{name}/recommendation.txt" for name in PROGRAMS]
    if PROGRAMS
    else []
)


rule check_condition:
    input:
        script="scripts/check_condition.py",
        package=package_files("check_condition"),
        program=program_file,
        data=program_data,
    output:
        f"{RESULTS}/{{program}}/verdict.json",
    log:
        f"{LOGS}/check_condition/{{program}}.log",
    benchmark:
        f"{BENCHMARKS}/check_condition/{{program}}.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        model=lambda w: PROGRAMS[w.program]["model"],
        settings=lambda w: as_json(PROGRAMS[w.program]["settings"]),
        data=program_options,
        local=lambda w: ["--local", *own] if (own := PROGRAMS[w.program].get("local")) else [],
    shell:
        "NPROC={threads} python {input.script:q} --model {params.model:q} --settings {params.settings:q}"
        " {params.data:q} {params.local:q} --output {output:q} > {log:q} 2>&1"


rule prepare_data:
    input:
        script="scripts/prepare_data.py",
        package=package_files("prepare_data"),
        program=program_file,
        data=program_data,
        verdict=f"{RESULTS}/{{program}}/verdict.json",
    output:
        f"{RESULTS}/{{program}}/data.nc",
    log:
        f"{LOGS}/prepare_data/{{program}}.log",
    benchmark:
        f"{BENCHMARKS}/prepare_data/{{program}}.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        model=lambda w: PROGRAMS[w.program]["model"],
        settings=lambda w: as_json(PROGRAMS[w.program]["settings"]),
        data=program_options,
        sizes=program_sizes,
    shell:
        "NPROC={threads} python {input.script:q} --model {params.model:q} --settings {params.settings:q}"
        " {params.data:q} --verdict {input.verdict:q} {params.sizes:q} --output {output:q} > {log:q} 2>&1"


rule fit_program_fvi:
    input:
        script="scripts/fit_program_fvi.py",
        package=package_files("fit_program_fvi"),
        program=program_file,
        data=f"{RESULTS}/{{program}}/data.nc",
        verdict=f"{RESULTS}/{{program}}/verdict.json",
    output:
        f"{RESULTS}/{{program}}/fvi.nc",
    log:
        f"{LOGS}/fit_program_fvi/{{program}}.log",
    benchmark:
        f"{BENCHMARKS}/fit_program_fvi/{{program}}.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        starts=lambda w: PROGRAMS[w.program]["fit"].get("starts", 3),
    shell:
        "NPROC={threads} python {input.script:q} --data {input.data:q} --verdict {input.verdict:q}"
        " --starts {params.starts} --output {output:q} > {log:q} 2>&1"


rule fit_ladder:
    input:
        script="scripts/fit_ladder.py",
        package=package_files("fit_ladder", "families/constant", "families/polynomial", "families/mlp"),
        program=program_file,
        data=f"{RESULTS}/{{program}}/data.nc",
        fvi=f"{RESULTS}/{{program}}/fvi.nc",
        verdict=f"{RESULTS}/{{program}}/verdict.json",
    output:
        f"{RESULTS}/{{program}}/ladder.nc",
    log:
        f"{LOGS}/fit_ladder/{{program}}.log",
    benchmark:
        f"{BENCHMARKS}/fit_ladder/{{program}}.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        families=lambda w: ["--families", as_json(own)] if (own := PROGRAMS[w.program].get("families")) else [],
        fit=lambda w: as_json(PROGRAMS[w.program]["fit"]),
    shell:
        "NPROC={threads} python {input.script:q} --data {input.data:q} --fvi {input.fvi:q}"
        " --verdict {input.verdict:q} {params.families:q} --fit {params.fit:q} --output {output:q} > {log:q} 2>&1"


rule recommend:
    input:
        script="scripts/recommend.py",
        package=package_files("recommend"),
        verdict=f"{RESULTS}/{{program}}/verdict.json",
        fvi=f"{RESULTS}/{{program}}/fvi.nc",
        ladder=f"{RESULTS}/{{program}}/ladder.nc",
    output:
        f"{RESULTS}/{{program}}/recommendation.txt",
    log:
        f"{LOGS}/recommend/{{program}}.log",
    benchmark:
        f"{BENCHMARKS}/recommend/{{program}}.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --verdict {input.verdict:q} --fvi {input.fvi:q}"
        " --ladder {input.ladder:q} --output {output:q} > {log:q} 2>&1"


rule summarise_programs:
    input:
        script="scripts/summarise_programs.py",
        package=package_files("summarise_programs"),
        verdicts=expand(f"{RESULTS}/{{program}}/verdict.json", program=PROGRAMS),
        fvi=expand(f"{RESULTS}/{{program}}/fvi.nc", program=PROGRAMS),
        ladders=expand(f"{RESULTS}/{{program}}/ladder.nc", program=PROGRAMS),
        references=[entry["reference"] for entry in PROGRAMS.values() if "reference" in entry],
    output:
        rows=f"{RESULTS}/programs.csv",
        parts=f"{RESULTS}/program_parts.csv",
        table=f"{RESULTS}/programs.md",
    log:
        f"{LOGS}/summarise_programs.log",
    benchmark:
        f"{BENCHMARKS}/summarise_programs.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        references=lambda w: as_json({n: e["reference"] for n, e in PROGRAMS.items() if "reference" in e}),
    shell:
        "NPROC={threads} python {input.script:q} --verdicts {input.verdicts:q} --fvi {input.fvi:q}"
        " --ladders {input.ladders:q} --references {params.references:q} --output {output.rows:q}"
        " --parts {output.parts:q} --table {output.table:q} > {log:q} 2>&1"


rule plot_program_gaps:
    input:
        script="scripts/plot_program_gaps.py",
        package=package_files("plot_program_gaps"),
        gap=f"{RESULTS}/programs.csv",
    output:
        multiext(f"{FIGURES}/program_gaps", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_program_gaps.log",
    benchmark:
        f"{BENCHMARKS}/plot_program_gaps.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --gap {input.gap:q} --output {output:q} > {log:q} 2>&1"


rule plot_program_parts:
    input:
        script="scripts/plot_program_parts.py",
        package=package_files("plot_program_parts"),
        parts=f"{RESULTS}/program_parts.csv",
    output:
        multiext(f"{FIGURES}/program_parts", ".pdf", ".png"),
    log:
        f"{LOGS}/plot_program_parts.log",
    benchmark:
        f"{BENCHMARKS}/plot_program_parts.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --parts {input.parts:q} --output {output:q} > {log:q} 2>&1"
