"""What the rules share: what computes a file, where files may lie, what jobs need."""

from circuit.config.needs import attributed, dictionaries, each, early, heads, joined, looked_at
from circuit.config.needs import manifests, measured_window, metadata, other, others, pairs, probes
from circuit.config.needs import requested, requests, run, split, splits, summed_up, train


def code(script, *loads):
    """Fingerprints of the library modules a script reaches, one parameter value per module."""
    return FINGERPRINTS.of(f"src/scripts/{script}.py", loads)


MEASURED_BY = {
    kind: code("measure", f"circuit.kinds.{kind}.measure", f"circuit.kinds.{kind}.settings")
    for kind in KINDS
}


def module(number):
    """One of the modules that measure an analysis: each is a parameter of its own, or it is None."""
    return lambda w: dict(enumerate(MEASURED_BY[asked(w).kind])).get(number)


def only(names):
    """Wildcard pattern of exactly these names."""
    return "|".join(sorted(names)) or "(?!)"


def home(kind):
    """Folder of an analysis of a kind below results/ or logs/, as a pattern."""
    return "{study}/{run}/{analysis}" if KINDS[kind].scope == "run" else "{study}/{analysis}"


def leaves(kind):
    """Files of measuring, in the folders of all analyses of a kind and nowhere else."""
    return made(PLAN.folders(kind), f"results/{home(kind)}", KINDS[kind].measured_files())


def shows(kind):
    """Files of viewing, which go into `snakemake --report` too."""
    files = made(PLAN.folders(kind), f"results/{home(kind)}", view_files(kind))
    run = {"run": "{run}"} if KINDS[kind].scope == "run" else {}
    place = {"category": "Study {study}", "subcategory": "{analysis}"}

    def shown(name, file):
        labels = {**run, "what": name.replace("_", " ")}
        return report(file, caption="../report/analysis.rst", labels=labels, **place)

    return {n: file if n == "report_json" else shown(n, file) for n, file in files.items()}


def needs(*parts):
    """What a job needs (circuit.config.needs), as a function of its wildcards."""
    return lambda w: joined(PLAN, w, parts)


def asked(w):
    """Settings of the analysis."""
    return PLAN.analysis(w.study, w.analysis)
