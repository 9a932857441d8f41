"""When a circuit is accepted: what is measured and seen of it rests on this table."""

CRITERIA = {
    "sufficient": ({"test": "sufficiency"}, "sufficient"),
    "special": ({"test": "sufficiency", "against": "excess over random circuits"}, None),
    "necessary": ({"test": "necessity"}, "needed"),
    "here": ({"test": "necessity", "against": "excess over as many other edges"}, None),
}
"""What a circuit must be shown to be to be accepted: row, and the setting that it must exceed."""
