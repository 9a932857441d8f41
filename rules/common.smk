"""What the rules share: parts of their inputs, outputs and parameters."""


def code(script):
    """Fingerprints of the library modules a script reaches, one parameter value per module."""
    return FINGERPRINTS.of(f"src/scripts/{script}.py")


def only(names):
    """Wildcard pattern of exactly these names."""
    return "|".join(sorted(names)) or "(?!)"


def within(folders):
    """Pattern for `{study}` that lets a rule make files in just these folders of results/.

    Looking ahead ties the wildcards together: what the configuration does not ask for is no target.
    """
    ahead = "|".join(sorted({folder.removeprefix("results/") for folder in folders}))
    return f"(?=(?:{ahead})/)[^/]+" if ahead else "(?!)"


def of_kind(kind):
    """Pattern for `{study}`: folders of all analyses of a kind."""
    return within(
        PLAN.folder(study, run, name)
        for study in STUDIES
        for name in PLAN.of_kind(study, kind)
        for run in PLAN.runs_of(study, name)
    )


def analysis_files(kind, scope="run"):
    """Output files of a kind of analysis; figures and reports also go into `snakemake --report`."""
    folder = "results/{study}/{run}/{analysis}" if scope == "run" else "results/{study}/{analysis}"
    shown = {"run": "{run}"} if scope == "run" else {}
    files = {}
    for name, file in KINDS[kind].files().items():
        path = f"{folder}/{file}"
        if name in KINDS[kind].figures or name == "report_md":
            path = report(
                path,
                caption=f"../report/{kind}.rst",
                category="Study {study}",
                subcategory="{analysis}",
                labels={**shown, "what": name.replace("_", " ")},
            )
        files[name] = path
    return files


def run_inputs(w):
    """A finished run and its benchmark: manifest, every checkpoint, metadata."""
    run = PLAN.runs[w.study, w.run]
    return {
        "manifest": run.manifest,
        "checkpoints": list(PLAN.checkpoints(w.study, w.run).values()),
        "metadata": f"data/{run.benchmark}/metadata.json",
    }


def early_inputs(w):
    """A run as it was known at the last of an analysis' cutoffs: no later checkpoint is an input."""
    last = max(PLAN.analysis(w.study, w.analysis).cutoffs)
    early = {step: file for step, file in PLAN.checkpoints(w.study, w.run).items() if step <= last}
    return {**run_inputs(w), "checkpoints": list(early.values())}


def tables(w, *names):
    """Tables of the run's benchmark, by name."""
    return {f"data_{n}": f"data/{PLAN.runs[w.study, w.run].benchmark}/{n}.parquet" for n in names}


def study_benchmark(w):
    """The benchmark of the study: metadata, and the splits that the analysis looks at."""
    folder = f"data/{PLAN.study(w.study).benchmark}"
    splits = PLAN.analysis(w.study, w.analysis).splits
    return {
        "metadata": f"{folder}/metadata.json",
        **{f"data_{split}": f"{folder}/{split}.parquet" for split in splits},
    }


def sweep_tables(w, *names):
    """Tables of the sweep that the analysis reads."""
    files = PLAN.files(w.study, w.run, PLAN.analysis(w.study, w.analysis).sweep)
    return {f"sweep_{name}": files[name] for name in names}


def measured_window(w):
    """The windows that another analysis found, where this one's window is one of them."""
    found = PLAN.measured_windows(w.study, w.run, w.analysis)
    return {"windows": found} if found else {}


def route_splits(w):
    """The splits whose losses push the routes: the run's training split and the analysis' own."""
    train = PLAN.runs[w.study, w.run].recipe.train_split
    return dict.fromkeys((train, PLAN.analysis(w.study, w.analysis).split))


def result(w, analysis, file, run=None):
    """A file of another analysis of the same run (or of another run of the study)."""
    return PLAN.files(w.study, run or w.run, analysis)[file]


def settings(w):
    """Settings of the analysis, as one self-describing parameter."""
    return PLAN.resolved(w.study, w.analysis)


def of_every_run(field, file):
    """The same file of an analysis that the setting `field` names, for every run compared."""
    return lambda w: [
        result(w, getattr(PLAN.analysis(w.study, w.analysis), field), file, run)
        for run in PLAN.runs_of(w.study, w.analysis)
    ]


def dictionary_files(w, settings):
    """Dictionaries of features that scalars anywhere in some settings name, in order of names."""
    files = [result(w, name, "dictionary") for name in dictionary_names(settings)]
    return {"dictionaries": files} if files else {}


def dictionaries(w):
    """Dictionaries of features that the analysis' scalars name."""
    return dictionary_files(w, PLAN.analysis(w.study, w.analysis).model_dump())


def replay_requests(w):
    """Analyses that look at a stretch, with their settings."""
    return PLAN.requests(w.study, w.run, int(w.start), int(w.stop))


def selecting(w):
    """Names of the analyses whose choice of heads the stretch's requests need."""
    asked = (request.get("heads") for request in replay_requests(w).values())
    return sorted({name for name in asked if name})


def stretches(w, name):
    """One table of every job that looked at an analysis' window, in step order."""
    chords = PLAN.chords(w.study, w.run, w.analysis)
    if chords:
        return [f"{chords}/{name}.parquet"] if name in CHORD_TABLES else []
    window = PLAN.window(w.study, PLAN.analysis(w.study, w.analysis).window)
    return [f"{job.folder}/{name}.parquet" for job in PLAN.replay_jobs(w.study, w.run, window)]
