"""What the rules share: parts of their inputs, outputs and parameters."""


def code(script, *loads):
    """Fingerprints of the library modules a script reaches, one parameter value per module."""
    return FINGERPRINTS.of(f"src/scripts/{script}.py", loads)


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


# What a kind's two jobs make, and what their parameters hold: one value for each module that they
# reach, the settings they are told, the versions they compute or draw with.


def leaves(kind):
    """Files of measuring, in the folders of all analyses of the kind and nowhere else."""
    return {
        name: f"{folder_of(kind, constrained=True)}/{file}"
        for name, file in KINDS[kind].measured_files().items()
    }


def shows(kind):
    """Files of viewing, which go into `snakemake --report` too."""
    asked = {"run": "{run}"} if KINDS[kind].scope == "run" else {}
    folder = folder_of(kind, constrained=True)
    return {
        name: (
            f"{folder}/{file}"
            if name == "report_json"
            else report(
                f"{folder}/{file}",
                caption="../report/analysis.rst",
                category="Study {study}",
                subcategory="{analysis}",
                labels={**asked, "what": name.replace("_", " ")},
            )
        )
        for name, file in view_files(kind).items()
    }


def folder_of(kind, constrained=False):
    """Folder of an analysis of a kind, as a pattern."""
    study = f"{{study,{of_kind(kind)}}}" if constrained else "{study}"
    return (
        f"results/{study}/{{run}}/{{analysis}}"
        if KINDS[kind].scope == "run"
        else f"results/{study}/{{analysis}}"
    )


def asks(kind):
    """Parameters of measuring."""
    modules = code("measure", f"circuit.kinds.{kind}.measure", f"circuit.kinds.{kind}.settings")
    of_study = {"runs": lambda w: list(PLAN.runs_of(w.study, w.analysis))}
    return {
        "kind": f"kind={kind}",
        "settings": lambda w: PLAN.resolved(w.study, w.analysis, told=False),
        "versions": NUMERICS if KINDS[kind].torch else TABLES,
        **(of_study if KINDS[kind].scope == "study" else {}),
        **{f"module_{i}": module for i, module in enumerate(modules)},
    }


def tells(kind):
    """Parameters of viewing."""
    modules = code("view", f"circuit.kinds.{kind}.view")
    return {
        "kind": f"kind={kind}",
        "settings": settings,
        "versions": DRAWING,
        **{f"module_{i}": module for i, module in enumerate(modules)},
    }


# What measuring may need, each a function of the wildcards.


def needs(*parts):
    """Several of the functions below as one."""
    return lambda w: {name: file for part in parts for name, file in part(w).items()}


def run(w):
    """A finished run and its benchmark: manifest, every checkpoint, metadata."""
    return run_inputs(w)


def early(w):
    """A run as it was known at the last of an analysis' cutoffs: no later checkpoint is an input."""
    last = max(PLAN.analysis(w.study, w.analysis).cutoffs)
    early = {step: file for step, file in PLAN.checkpoints(w.study, w.run).items() if step <= last}
    return {**run_inputs(w), "checkpoints": list(early.values())}


def probes(w):
    """The probe set of the run's benchmark."""
    return tables(w, "probes")


def train(w):
    """The split that the run was trained on."""
    return tables(w, PLAN.runs[w.study, w.run].recipe.train_split)


def split(w):
    """The analysis' split."""
    return tables(w, PLAN.analysis(w.study, w.analysis).split)


def splits(w):
    """The analysis' splits."""
    return tables(w, *PLAN.analysis(w.study, w.analysis).splits)


def heads(w):
    """The choice of heads that the analysis goes by."""
    return {"heads": result(w, PLAN.analysis(w.study, w.analysis).heads, "heads")}


def other(setting, **files):
    """Files of the analysis that a setting names: name of the input → of the file."""
    return lambda w: {
        name: result(w, getattr(PLAN.analysis(w.study, w.analysis), setting), file)
        for name, file in files.items()
    }


def others(setting, **files):
    """The same of every run compared."""
    return lambda w: {name: of_every_run(setting, file)(w) for name, file in files.items()}


def manifests(w):
    """Manifests of every run compared."""
    return {
        "manifests": [PLAN.runs[w.study, run].manifest for run in PLAN.runs_of(w.study, w.analysis)]
    }


def looked_at(*names):
    """Tables of every job that looked at the analysis' window, in step order."""
    return lambda w: {name: stretches(w, name) for name in names}


def attributed(w):
    """What those jobs attributed, after they compared themselves with recorded checkpoints."""
    return looked_at("verification", *CHORD_TABLES)(w)


def run_inputs(w):
    """A finished run and its benchmark: manifest, every checkpoint, metadata."""
    run = PLAN.runs[w.study, w.run]
    return {
        "manifest": run.manifest,
        "checkpoints": list(PLAN.checkpoints(w.study, w.run).values()),
        "metadata": f"data/{run.benchmark}/metadata.json",
    }


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
