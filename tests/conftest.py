"""Settings that every test shares."""

import os

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
