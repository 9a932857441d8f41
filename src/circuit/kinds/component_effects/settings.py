"""Settings of the kind ``component_effects``."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from circuit.config.analysis import AtCheckpoints, Study
from circuit.config.base import Listed, Name, Several
from circuit.config.marks import Mark, Neuron
from circuit.errors import ConfigError

Member = Annotated[str, Mark("component", "neurons")]


class Settings(AtCheckpoints):
    """Causal effect of every head, MLP and neuron set, beside direct attribution.

    ``neurons`` names sets of neurons, ``groups`` sets of heads, MLPs and of these; both are also
    compared with ``draws`` random sets, drawn with ``seed``. Pairs of heads and MLPs are all
    measured. The last of ``checkpoints`` is told.
    """

    kind: Literal["component_effects"]
    neurons: dict[Name, Several[Neuron]] = Field(default_factory=dict)
    groups: dict[Name, Annotated[Listed[Member], Field(min_length=2)]] = Field(default_factory=dict)
    draws: Annotated[int, Field(ge=20, le=1000)] = 40

    def check(self, study: Study, where: str) -> None:
        """No name means two things, and no group holds a neuron twice."""
        for name in (*self.neurons, *self.groups):
            if re.match(r"L\d", name) or (name in self.neurons and name in self.groups):
                raise ConfigError(
                    f"the name {name!r} is taken",
                    where=f"{where}.{'neurons' if name in self.neurons else 'groups'}",
                    expected="names of their own for sets of neurons and groups, none like L0MLP",
                    do="rename it",
                )
        for name, group in self.groups.items():
            held: list[str] = [one for one in group if one.endswith("MLP")]
            for neuron in (one for member in group for one in self.neurons.get(member, ())):
                if neuron in held or f"{neuron.partition('N')[0]}MLP" in held:
                    raise ConfigError(
                        f"group {name!r} holds neuron {neuron} twice",
                        where=f"{where}.groups.{name}",
                        expected="members that share no neuron, so that single effects can be "
                        "summed",
                        do="leave one of the members out",
                    )
                held.append(neuron)
