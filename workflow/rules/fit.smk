rule fit_fvi:
    input:
        script="scripts/fit_fvi.py",
        package=lambda w: package_files("fit_fvi", model_file(w)),
        data=f"{RESULTS}/{{experiment}}/data.nc",
    output:
        f"{RESULTS}/{{experiment}}/fvi.nc",
    log:
        f"{LOGS}/fit_fvi/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/fit_fvi/{{experiment}}.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --data {input.data:q} --output {output:q} > {log:q} 2>&1"


rule fit_avi:
    input:
        script="scripts/fit_avi.py",
        package=lambda w: package_files("fit_avi", model_file(w), family_file(w)),
        data=f"{RESULTS}/{{experiment}}/data.nc",
        fvi=f"{RESULTS}/{{experiment}}/fvi.nc",
    output:
        f"{RESULTS}/{{experiment}}/avi/{{family}}.nc",
    log:
        f"{LOGS}/fit_avi/{{experiment}}/{{family}}.log",
    benchmark:
        f"{BENCHMARKS}/fit_avi/{{experiment}}/{{family}}.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        family=lambda w: as_json(EXPERIMENTS[w.experiment]["families"][w.family]),
        fit=lambda w: as_json(EXPERIMENTS[w.experiment]["fit"]),
    shell:
        "NPROC={threads} python {input.script:q} --data {input.data:q} --fvi {input.fvi:q}"
        " --family {params.family:q} --fit {params.fit:q} --output {output:q} > {log:q} 2>&1"


rule summarise_gap:
    input:
        script="scripts/summarise_gap.py",
        package=package_files("summarise_gap"),
        fits=FITS,
    output:
        gap=f"{RESULTS}/gap.csv",
        provenance=f"{RESULTS}/provenance.json",
    log:
        f"{LOGS}/summarise_gap.log",
    benchmark:
        f"{BENCHMARKS}/summarise_gap.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    shell:
        "NPROC={threads} python {input.script:q} --fits {input.fits:q} --output {output.gap:q}"
        " --provenance {output.provenance:q} > {log:q} 2>&1"
