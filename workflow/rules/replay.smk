PARTS = {name: parts_of(entry) for name, entry in REPLAYS.items()}
RUNS = [f"{RESULTS}/replays/{name}/part_{part}.nc" for name, parts in PARTS.items() for part in range(len(parts))]
MODELS_REPLAYED = sorted({f"models/{EXPERIMENTS[entry['of']['experiment']]['model']}" for entry in REPLAYS.values()})


wildcard_constraints:
    replay=any_of(REPLAYS),
    part=r"\d+",


rule replay:
    input:
        script="scripts/replay.py",
        package=lambda w: package_files(
            "replay",
            f"models/{EXPERIMENTS[replayed(w)]['model']}",
            *{f"families/{family['kind']}" for family in of_part(w)[0].values()},
        ),
        data=lambda w: f"{RESULTS}/{replayed(w)}/data.nc",
        fvi=lambda w: f"{RESULTS}/{replayed(w)}/fvi.nc",
    output:
        f"{RESULTS}/replays/{{replay}}/part_{{part}}.nc",
    log:
        f"{LOGS}/replay/{{replay}}/part_{{part}}.log",
    benchmark:
        f"{BENCHMARKS}/replay/{{replay}}/part_{{part}}.tsv"
    priority: 1  # the longest jobs: none of them should be left to run alone at the end
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        methods=lambda w: as_json(of_part(w)[0]),
        overrides=lambda w: as_json(of_part(w)[1]),
        protocol=lambda w: as_json(REPLAYS[w.replay]["protocol"]),
        num_obs=lambda w: REPLAYS[w.replay]["of"]["num_obs"],
        seeds=lambda w: PARTS[w.replay][int(w.part)][1],
    shell:
        "NPROC={threads} python {input.script:q} --data {input.data:q} --fvi {input.fvi:q} --num-obs {params.num_obs:q}"
        " --methods {params.methods:q} --protocol {params.protocol:q} --overrides {params.overrides:q}"
        " --seed {params.seeds:q} --output {output:q} > {log:q} 2>&1"


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
        replays=as_json(
            {
                name: {"mode": entry["mode"], "note": entry.get("note", ""), "read_as": entry["read_as"]}
                for name, entry in REPLAYS.items()
            }
        ),
    shell:
        "NPROC={threads} python {input.script:q} --runs {input.runs:q} --replays {params.replays:q}"
        " --output {output.replay:q} --provenance {output.provenance:q} > {log:q} 2>&1"
