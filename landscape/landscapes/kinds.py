"""The kinds of a stationary point, by the signs of the Hessian's eigenvalues."""


def kind(negative: int, zero: int, positive: int) -> str:
    """The kind of a stationary point with so many negative, zero and positive eigenvalues, in the
    words of a verdict.

    saddle      both signs, zero ones allowed
    degenerate  zero ones, all others of one sign
    plateau     zero ones only
    minimum, maximum  one sign only
    """
    if negative and positive:
        return "saddle"
    if zero:
        return "degenerate" if negative or positive else "plateau"
    return "maximum" if negative else "minimum"
