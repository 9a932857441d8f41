"""What a window's updates sum to in every weight matrix, replayed."""

from tqdm import tqdm

from circuit.kinds.update_geometry.settings import Settings
from circuit.measures.weights.updates import update_geometry
from circuit.measuring import ROLES, Job, Measured, Table
from circuit.opened import OpenRun
from circuit.training.replay import Verification, replay


def measure(job: Job[Settings]) -> Measured:
    """Sums of every component over the window; the replay verifies itself at checkpoints."""
    run, asked, (first, last) = OpenRun(job), job.settings, job.window
    verified = list[Verification]()
    steps = replay(run.trajectory, run.manifest, first, last, verified.append)
    rows = update_geometry(
        run.decoder,
        tqdm(steps, total=last - first, desc="replay", unit="step", mininterval=15),
        (run.theta(first), run.theta(last), run.theta(run.steps[-1])),
        {job.heads[role]: role for role in ROLES},
        (asked.top, asked.draws, asked.seed),
        last,
    )
    exact = sum(one.exact for one in verified)
    return run.measured(
        {"rows": Table(rows, "one number of one matrix' summed update")},
        facts={"window": [first, last], "checkpoints": len(verified), "exact": exact},
        seeds={"random updates": asked.seed},
    )
