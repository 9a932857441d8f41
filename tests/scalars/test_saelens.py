"""SAELens reads what is written here, and its features and states are ours; and the other way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from scalar_cases import random_dictionary

from circuit.scalars.dictionary_files import load_dictionary, write_dictionary

SAELENS = Path(os.environ.get("CIRCUIT_SAELENS", Path(sys.prefix) / "sae_lens"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not SAELENS.is_dir(), reason="sae-lens is not installed here: `make test-slow` installs it"
    ),
]
WIDTH = 6
RULES = {
    "standard": {},
    "topk": {"k": 3},
    "jumprelu": {"threshold": torch.linspace(-0.5, 2, 12, dtype=torch.float64)},
}
# In a process of its own, since it wants another TransformerLens; a logger of experiments, unused.
READ = """
import sys
from types import ModuleType
from unittest.mock import MagicMock
sys.modules["wandb"] = MagicMock(spec=ModuleType("wandb"), __spec__=None)
from sae_lens import SAE
from safetensors.torch import load_file, save_file
for folder in sys.argv[1:]:
    sae = SAE.load_from_disk(folder)
    x = load_file(f"{folder}/x.safetensors")["x"]
    f = sae.encode(x).detach()
    out = {"f": f.to_dense() if f.is_sparse else f, "rebuilt": sae.decode(sae.encode(x)).detach()}
    save_file(out, f"{folder}/found.safetensors")
    sae.save_model(f"{folder}/again")
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A dictionary of every rule with states beside it, and what SAELens makes of both."""
    root, found = tmp_path_factory.mktemp("saelens"), {}
    x = 2 * torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(3))
    for name, rule in RULES.items():
        it = random_dictionary(WIDTH, scale=2.5, made={"trajectory": "abc"}, **rule)
        write_dictionary(root / name, it)
        save_file({"x": x}, root / name / "x.safetensors")
        found[name] = (root / name, it, x)
    environment = {**os.environ, "PYTHONPATH": str(SAELENS), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", READ, *(str(folder) for folder, _, _ in found.values())]
    subprocess.run(command, env=environment, check=True)
    return found


def explained(x, rebuilt):
    x, rebuilt = x.double(), rebuilt.double()
    return float(1 - (x - rebuilt).square().sum() / (x - x.mean(0)).square().sum())


@pytest.mark.parametrize("rule", RULES)
def test_saelens_agrees_on_activations_states_and_explained_variance(folders, rule):
    folder, it, x = folders[rule]
    theirs = load_file(folder / "found.safetensors")
    close = {"rtol": 1e-6, "atol": 2e-6}
    torch.testing.assert_close(theirs["f"], it.encode(x), **close)
    torch.testing.assert_close(theirs["rebuilt"], it.rebuild(x), rtol=1e-6, atol=1e-5)
    ours = explained(x, it.rebuild(x))
    assert explained(x, theirs["rebuilt"]) == pytest.approx(ours, rel=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_what_saelens_writes_is_read(folders, rule):
    folder, it, x = folders[rule]
    again = load_dictionary(folder / "again" / "sae_weights.safetensors", trajectory="abc")
    torch.testing.assert_close(again.encode(x), it.encode(x))
    assert (again.stage, again.families, again.scale) == (it.stage, it.families, it.scale)
    said = json.loads((folder / "again" / "cfg.json").read_text())
    assert said["architecture"] == it.architecture
