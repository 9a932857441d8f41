"""How and when a small transformer forms a circuit, measured from its own training run.

This file stays empty of imports, and so does every ``__init__.py`` below it: a rule's
fingerprint follows imports (see :mod:`circuit.fingerprint`), and a package that re-exported its
modules would make every artifact depend on all of them.
"""
