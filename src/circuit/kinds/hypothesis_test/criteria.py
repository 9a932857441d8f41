"""When a circuit is accepted: what is measured, seen and said of it rests on this table."""

CRITERIA = {
    "sufficient": ({"test": "sufficiency"}, "sufficient"),
    "more so than random circuits": (
        {"test": "sufficiency", "against": "excess over random circuits"},
        None,
    ),
    "necessary": ({"test": "necessity"}, "needed"),
    "more so than as many other edges": (
        {"test": "necessity", "against": "excess over as many other edges"},
        None,
    ),
}
"""What a circuit must be shown to be to be accepted: row, and the setting that it must exceed."""
