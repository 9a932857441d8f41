"""Causal effect of heads, MLPs and neuron sets against what they write by themselves."""
