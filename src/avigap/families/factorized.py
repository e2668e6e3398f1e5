"""F-VI: every local latent has a normal factor of its own (Margossian and Blei 2024, equation 2)."""

from avigap.families import Family, Offsets


def build(*, inputs: Offsets = (0,)) -> Family:
    """Return the family with 2 N parameters; ``inputs`` changes nothing, since no factor looks at the data."""
    return Family(inputs)
