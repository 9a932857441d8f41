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


def folder_of(kind, study="{study}"):
    """Folder of an analysis of a kind, as a pattern."""
    run = "{run}/" if KINDS[kind].scope == "run" else ""
    return f"results/{study}/{run}{{analysis}}"


def made_of(kind, files):
    """Files in the folders of all analyses of a kind and nowhere else, as patterns."""
    folders = within(
        PLAN.folder(study, run, name)
        for study in STUDIES
        for name in PLAN.of_kind(study, kind)
        for run in PLAN.runs_of(study, name)
    )
    folder = folder_of(kind, f"{{study,{folders}}}")
    return {name: f"{folder}/{file}" for name, file in files.items()}


def leaves(kind):
    """Files of measuring."""
    return made_of(kind, KINDS[kind].measured_files())


def shows(kind):
    """Files of viewing, which go into `snakemake --report` too."""
    run = {"run": "{run}"} if KINDS[kind].scope == "run" else {}

    def shown(name, path):
        labels = {**run, "what": name.replace("_", " ")}
        place = {"category": "Study {study}", "subcategory": "{analysis}"}
        return report(path, caption="../report/analysis.rst", labels=labels, **place)

    made = made_of(kind, view_files(kind))
    return {n: path if n == "report_json" else shown(n, path) for n, path in made.items()}


def asks(kind):
    """Parameters of measuring: what it is told, what computes it."""
    modules = code("measure", f"circuit.kinds.{kind}.measure", f"circuit.kinds.{kind}.settings")
    runs = {"runs": lambda w: list(PLAN.runs_of(w.study, w.analysis))}
    return {
        "kind": f"kind={kind}",
        "settings": lambda w: PLAN.resolved(w.study, w.analysis, told=False),
        "versions": NUMERICS if KINDS[kind].torch else TABLES,
        **(runs if KINDS[kind].scope == "study" and KINDS[kind].compares_runs else {}),
        **{f"module_{i}": module for i, module in enumerate(modules)},
    }


def tells(kind):
    """Parameters of viewing: what it is told, what words and draws it."""
    modules = code("view", f"circuit.kinds.{kind}.view")
    return {
        "kind": f"kind={kind}",
        "settings": lambda w: PLAN.resolved(w.study, w.analysis),
        "versions": DRAWING,
        **{f"module_{i}": module for i, module in enumerate(modules)},
    }


# What measuring may need, each a function of the wildcards.


def needs(*parts):
    """Several of the functions below as one."""
    return lambda w: {name: file for part in parts for name, file in part(w).items()}


def asked(w):
    """Settings of the analysis."""
    return PLAN.analysis(w.study, w.analysis)


def run(w):
    """A finished run and its benchmark: manifest, every checkpoint, metadata."""
    run = PLAN.runs[w.study, w.run]
    return {
        "manifest": run.manifest,
        "checkpoints": list(PLAN.checkpoints(w.study, w.run).values()),
        "metadata": f"data/{run.benchmark}/metadata.json",
    }


def early(w):
    """A run as it was known at the last of an analysis' cutoffs: no later checkpoint is an input."""
    last = max(asked(w).cutoffs)
    known = [file for step, file in PLAN.checkpoints(w.study, w.run).items() if step <= last]
    return {**run(w), "checkpoints": known}


def tables(w, *names):
    """Tables of the run's benchmark, by name."""
    return {f"data_{n}": f"data/{PLAN.runs[w.study, w.run].benchmark}/{n}.parquet" for n in names}


def probes(w):
    """The probe set of the run's benchmark."""
    return tables(w, "probes")


def train(w):
    """The split that the run was trained on."""
    return tables(w, PLAN.runs[w.study, w.run].recipe.train_split)


def split(w):
    """The analysis' split."""
    return tables(w, asked(w).split)


def splits(w):
    """The analysis' splits."""
    return tables(w, *asked(w).splits)


def benchmark_of_study(w):
    """The benchmark of the study: metadata, and the splits that the analysis looks at."""
    folder = f"data/{PLAN.study(w.study).benchmark}"
    looked_at = {f"data_{split}": f"{folder}/{split}.parquet" for split in asked(w).splits}
    return {"metadata": f"{folder}/metadata.json", **looked_at}


def other(setting, *files):
    """Files of the analysis that a setting names, by their output names."""
    return lambda w: {
        file: PLAN.files(w.study, w.run, getattr(asked(w), setting))[file] for file in files
    }


def heads(w):
    """The choice of heads that the analysis goes by."""
    return other("heads", "heads")(w)


def others(*settings):
    """Rows of the analyses that settings name, of every run compared, by the settings' names."""
    return lambda w: {
        setting: [
            PLAN.files(w.study, run, getattr(asked(w), setting))["rows"]
            for run in PLAN.runs_of(w.study, w.analysis)
        ]
        for setting in settings
    }


def manifests(w):
    """Manifests of every run compared."""
    runs = PLAN.runs_of(w.study, w.analysis)
    return {"manifests": [PLAN.runs[w.study, run].manifest for run in runs]}


def measured_window(w):
    """The windows that another analysis found, where this one's window is one of them."""
    found = PLAN.measured_windows(w.study, w.run, w.analysis)
    return {"windows": found} if found else {}


def dictionary_files(w, settings):
    """Dictionaries of features that scalars anywhere in some settings name, in order of names."""
    names = dictionary_names(settings)
    files = [PLAN.files(w.study, w.run, name)["dictionary"] for name in names]
    return {"dictionaries": files} if files else {}


def dictionaries(w):
    """Dictionaries of features that the analysis' scalars name."""
    return dictionary_files(w, asked(w).model_dump())


def looked_at(*names):
    """Tables of every job that looked at the analysis' window, in step order."""
    return lambda w: {name: PLAN.stretches(w.study, w.run, w.analysis, name) for name in names}


def attributed(w):
    """What those jobs attributed, after they compared themselves with recorded checkpoints."""
    return looked_at("verification", *CHORD_TABLES)(w)


def requested(w):
    """Analyses that look at a stretch, with their settings."""
    return PLAN.requests(w.study, w.run, int(w.start), int(w.stop))


def selecting(w):
    """Names of the analyses whose choice of heads the stretch's requests need."""
    named = (request.get("heads") for request in requested(w).values())
    return sorted({name for name in named if name})
