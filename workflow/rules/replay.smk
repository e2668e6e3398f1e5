REPLAYS = config["replays"]
RUNS = [
    f"{RESULTS}/replays/{name}/{method}/part_{part}.nc"
    for name, entry in REPLAYS.items()
    for method in entry["methods"]
    for part in range(-(-entry["seeds"] // entry["seeds_per_job"]))
]


MODELS_REPLAYED = sorted({f"models/{EXPERIMENTS[entry['of']['experiment']]['model']}" for entry in REPLAYS.values()})


wildcard_constraints:
    replay=any_of(REPLAYS),
    method=any_of({method for entry in REPLAYS.values() for method in entry["methods"]}),
    part=r"\d+",


def replayed(wildcards):
    """Experiment whose data a replay takes."""
    return REPLAYS[wildcards.replay]["of"]["experiment"]


def seeds_of_part(wildcards):
    entry, part = REPLAYS[wildcards.replay], int(wildcards.part)
    return list(range(entry["seeds"]))[part * entry["seeds_per_job"] :][: entry["seeds_per_job"]]


def protocol_of(wildcards):
    entry = REPLAYS[wildcards.replay]
    return entry["protocol"] | entry["overrides"].get(wildcards.method, {})


rule replay:
    input:
        script="scripts/replay.py",
        package=lambda w: package_files(
            "replay",
            f"models/{EXPERIMENTS[replayed(w)]['model']}",
            f"families/{REPLAYS[w.replay]['methods'][w.method]['kind']}",
        ),
        data=lambda w: f"{RESULTS}/{replayed(w)}/data.nc",
        fvi=lambda w: f"{RESULTS}/{replayed(w)}/fvi.nc",
    output:
        f"{RESULTS}/replays/{{replay}}/{{method}}/part_{{part}}.nc",
    log:
        f"{LOGS}/replay/{{replay}}/{{method}}/part_{{part}}.log",
    benchmark:
        f"{BENCHMARKS}/replay/{{replay}}/{{method}}/part_{{part}}.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        family=lambda w: as_json(REPLAYS[w.replay]["methods"][w.method]),
        protocol=lambda w: as_json(protocol_of(w)),
        num_obs=lambda w: REPLAYS[w.replay]["of"]["num_obs"],
        seeds=seeds_of_part,
    shell:
        "NPROC={threads} python {input.script:q} --data {input.data:q} --fvi {input.fvi:q} --num-obs {params.num_obs:q}"
        " --family {params.family:q} --protocol {params.protocol:q} --seed {params.seeds:q}"
        " --output {output:q} > {log:q} 2>&1"


rule summarise_replay:
    input:
        script="scripts/summarise_replay.py",
        package=package_files("summarise_replay", *MODELS_REPLAYED),
        runs=RUNS,
    output:
        replay=f"{RESULTS}/replay.csv",
        provenance=f"{RESULTS}/replay_provenance.json",
    log:
        f"{LOGS}/summarise_replay.log",
    benchmark:
        f"{BENCHMARKS}/summarise_replay.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        modes=as_json({name: entry["mode"] for name, entry in REPLAYS.items()}),
    shell:
        "NPROC={threads} python {input.script:q} --runs {input.runs:q} --modes {params.modes:q}"
        " --output {output.replay:q} --provenance {output.provenance:q} > {log:q} 2>&1"
