"""Settings that every test shares."""

import os

import pytest
from hypothesis import settings

# Numbers must not depend on how many cores there are, nor tests fight over them. Read once, when
# torch and NumPy are first imported, and pytest imports this file before any test.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# A loaded machine must not turn a slow example into a failure, and a failure must be the same
# everywhere.
settings.register_profile("circuit", deadline=None, derandomize=True)
settings.load_profile("circuit")

pytest_plugins = ["planted"]  # loaded after this file ran, so torch sees the variables above


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each process whole files, and one of them all that share the finished tiny study.

    That takes long to make, so it comes first.
    """
    from xdist.scheduler import LoadScopeScheduling

    class WholeFiles(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            alone = file.endswith(("test_bad_config.py", "test_plan.py"))
            return "workflow" if file.startswith("tests/workflow/") and not alone else file

    config.option.loadscopereorder = False
    return WholeFiles(config, log)


def pytest_collection_modifyitems(items):
    """Begin with what takes longest."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/workflow/"))
