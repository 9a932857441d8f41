use rule measure as route_features with:
    input:
        unpack(needs(early, probes, train)),
    output:
        **leaves("route_features"),
    params:
        **asks("route_features"),


use rule compare as foretold with:
    input:
        unpack(others("features", "scan")),
    output:
        **leaves("foretold"),
    params:
        **asks("foretold"),
