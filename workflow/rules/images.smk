# The Bayesian decoder of images: data, mini-batch fits, measures and figures.
IMAGE_PARTS = {name: range(len(image_seeds(name))) for name in IMAGES}
IMAGE_RUNS = [
    (name, method, part) for name, entry in IMAGES.items() for method in entry["methods"] for part in IMAGE_PARTS[name]
]
IMAGE_FIGURES = ("image_paths", "image_convergence", "image_gaps", "image_reconstructions")
IMAGE_FILES = (
    [f"{RESULTS}/images.csv", f"{RESULTS}/images_provenance.json"]
    + [f"{FIGURES}/{name}.{suffix}" for name in IMAGE_FIGURES for suffix in ("pdf", "png")]
    if IMAGES
    else []
)
IMAGE_DATA = [f"{RESULTS}/{name}/images.nc" for name in IMAGES]
IMAGE_FITS = [f"{RESULTS}/{name}/fits/{method}_{part}.nc" for name, method, part in IMAGE_RUNS]


wildcard_constraints:
    images=any_of(IMAGES),
    method=any_of({method for entry in IMAGES.values() for method in entry["methods"]}),


rule prepare_images:
    input:
        script="scripts/prepare_images.py",
        package=package_files("prepare_images"),
        files=image_files,
    output:
        f"{RESULTS}/{{images}}/images.nc",
    log:
        f"{LOGS}/prepare_images/{{images}}.log",
    benchmark:
        f"{BENCHMARKS}/prepare_images/{{images}}.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        options=image_options,
    shell:
        "NPROC={threads} python {input.script:q} {params.options:q} --output {output:q} > {log:q} 2>&1"


rule fit_images:
    input:
        script="scripts/fit_images.py",
        package=package_files("fit_images", "models/bnn_images"),
        data=f"{RESULTS}/{{images}}/images.nc",
        start=image_start,
    output:
        f"{RESULTS}/{{images}}/fits/{{method}}_{{part}}.nc",
    log:
        f"{LOGS}/fit_images/{{images}}/{{method}}_{{part}}.log",
    benchmark:
        f"{BENCHMARKS}/fit_images/{{images}}/{{method}}_{{part}}.tsv"
    priority: lambda w: image_method(w).get("width", 0)  # the widest take longest
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    resources:
        gpu=GPU,
        runtime=600,  # minutes; Fashion-MNIST takes one to two hours for a method on one core
    params:
        method=lambda w: as_json({k: v for k, v in image_method(w).items() if k not in ("start", "fit")}),
        settings=lambda w: as_json(IMAGES[w.images]["settings"]),
        fit=lambda w: as_json(image_method(w)["fit"]),
        start=lambda w, input: ["--start", *input.start] if input.start else [],
        sizes=lambda w: IMAGES[w.images]["num_obs"],
        seeds=lambda w: image_seeds(w.images)[int(w.part)],
        checkpoint=lambda w: f"{RESULTS}/{w.images}/checkpoints/{w.method}_{w.part}",
    shell:
        "NPROC={threads} python {input.script:q} --data {input.data:q} --method {params.method:q} {params.start:q}"
        " --settings {params.settings:q} --fit {params.fit:q} --num-obs {params.sizes:q} --seed {params.seeds:q}"
        " --checkpoint {params.checkpoint:q} --output {output:q} > {log:q} 2>&1"


rule measure_images:
    input:
        script="scripts/measure_images.py",
        package=package_files("measure_images", "models/bnn_images"),
        data=f"{RESULTS}/{{images}}/images.nc",
        fits=f"{RESULTS}/{{images}}/fits/{{method}}_{{part}}.nc",
    output:
        runs=f"{RESULTS}/{{images}}/runs/{{method}}_{{part}}.csv",
        refinement=f"{RESULTS}/{{images}}/refinement/{{method}}_{{part}}.csv",
    log:
        f"{LOGS}/measure_images/{{images}}/{{method}}_{{part}}.log",
    benchmark:
        f"{BENCHMARKS}/measure_images/{{images}}/{{method}}_{{part}}.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    resources:
        gpu=GPU,
    params:
        tolerance=lambda w: IMAGES[w.images]["mse_tolerance"],
        refined=lambda w: ["--refined", n] if (n := IMAGES[w.images].get("refined")) else [],
    shell:
        "NPROC={threads} python {input.script:q} --data {input.data:q} --fits {input.fits:q}"
        " --tolerance {params.tolerance:q} {params.refined:q} --output {output:q} > {log:q} 2>&1"


rule summarise_images:
    input:
        script="scripts/summarise_images.py",
        package=package_files("summarise_images"),
        runs=[f"{RESULTS}/{name}/runs/{method}_{part}.csv" for name, method, part in IMAGE_RUNS],
        refinement=[f"{RESULTS}/{name}/refinement/{method}_{part}.csv" for name, method, part in IMAGE_RUNS],
        fits=IMAGE_FITS,
    output:
        runs=f"{RESULTS}/images.csv",
        refinement=f"{RESULTS}/images_refinement.csv",
        provenance=f"{RESULTS}/images_provenance.json",
    log:
        f"{LOGS}/summarise_images.log",
    benchmark:
        f"{BENCHMARKS}/summarise_images.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        modes=as_json({name: entry["mode"] for name, entry in IMAGES.items()}),
    shell:
        "NPROC={threads} python {input.script:q} --runs {input.runs:q} --refinement {input.refinement:q}"
        " --fits {input.fits:q} --modes {params.modes:q} --output {output.runs:q}"
        " {output.refinement:q} --provenance {output.provenance:q} > {log:q} 2>&1"


rule plot_images:
    input:
        script="scripts/plot_images.py",
        package=package_files("plot_images"),
        runs=f"{RESULTS}/images.csv",
        refinement=f"{RESULTS}/images_refinement.csv",
        data=IMAGE_DATA,
        fits=IMAGE_FITS,
    output:
        [f"{FIGURES}/{name}.{suffix}" for name in IMAGE_FIGURES for suffix in ("pdf", "png")],
    log:
        f"{LOGS}/plot_images.log",
    benchmark:
        f"{BENCHMARKS}/plot_images.tsv"
    conda:
        "../../envs/avigap.yaml"
    threads: 1
    params:
        tolerances=as_json({name: entry["mse_tolerance"] for name, entry in IMAGES.items()}),
    shell:
        "NPROC={threads} python {input.script:q} --runs {input.runs:q} --refinement {input.refinement:q}"
        " --data {input.data:q} --fits {input.fits:q} --tolerances {params.tolerances:q} --output {output:q}"
        " > {log:q} 2>&1"
