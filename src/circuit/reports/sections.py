"""The parts of a study's page, in their order: each is a question to the whole study."""

DATA = "What the data asks for"
BEHAVIOUR = "What behaviour there is, and when"
MECHANISM = "Which mechanism there is"
FORMATION = "When it formed in weights and states"
UPDATES = "What built it"
TRAINING_DATA = "Which data built it"
WRITES = "What is written"
FORETOLD = "Whether it could be known before"
EXPLAINED = "How much it explains"
REPEATS = "Whether it repeats"
REFERENCE = "Reference model"
SECTIONS = (
    DATA,
    BEHAVIOUR,
    MECHANISM,
    FORMATION,
    UPDATES,
    TRAINING_DATA,
    WRITES,
    FORETOLD,
    EXPLAINED,
    REPEATS,
    REFERENCE,
)
