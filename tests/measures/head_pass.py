"""The pass that everything about heads is read off, and the planted circuit's heads."""

from circuit.measures.heads.attention import attention_sites
from circuit.scalars.base import look

HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]


def pass_of(circuit, events):
    ids = circuit.vocabulary.value_ids
    return look(circuit.decoder, circuit.flat, events, ids, attention_sites(2))
