"""How good islands are: pictures whose parts are known, scores against them, and what brightness and colour reach."""
