"""Op rules, one file a family. Importing this package registers them all."""

from . import (  # noqa: F401
    compare,
    convolution,
    functions,
    linear,
    loss,
    movement,
    noise,
    normalise,
    pooling,
    reductions,
    ring,
    scatter,
    selection,
    values,
)
