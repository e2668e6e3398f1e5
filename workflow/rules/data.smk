rule simulate:
    input:
        script="scripts/simulate.py",
        package=lambda w: package_files("simulate", model_file(w)),
    output:
        f"{RESULTS}/{{experiment}}/data.nc",
    log:
        f"{LOGS}/simulate/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/simulate/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(SIMULATED),
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        model=lambda w: EXPERIMENTS[w.experiment]["model"],
        settings=lambda w: as_json(EXPERIMENTS[w.experiment]["settings"]),
        num_obs=lambda w: EXPERIMENTS[w.experiment]["data"]["simulate"]["num_obs"],
        seeds=lambda w: list(range(EXPERIMENTS[w.experiment]["data"]["simulate"]["seeds"])),
    shell:
        "NPROC={threads} python {input.script:q} --model {params.model:q} --settings {params.settings:q}"
        " --num-obs {params.num_obs:q} --seed {params.seeds:q} --output {output:q} > {log:q} 2>&1"


rule import_data:
    input:
        script="scripts/import_data.py",
        package=lambda w: package_files("import_data", model_file(w)),
        data=lambda w: EXPERIMENTS[w.experiment]["data"]["file"],
    output:
        f"{RESULTS}/{{experiment}}/data.nc",
    log:
        f"{LOGS}/import_data/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/import_data/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(IMPORTED),
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        model=lambda w: EXPERIMENTS[w.experiment]["model"],
        settings=lambda w: as_json(EXPERIMENTS[w.experiment]["settings"]),
        num_obs=lambda w: ["--num-obs", *n] if (n := EXPERIMENTS[w.experiment]["data"].get("num_obs")) else [],
    shell:
        "NPROC={threads} python {input.script:q} --model {params.model:q} --settings {params.settings:q}"
        " --input {input.data:q} {params.num_obs:q} --output {output:q} > {log:q} 2>&1"
