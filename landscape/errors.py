"""What can go wrong, each with the exit status the command line gives it.

A bad argument is a plain ``ValueError`` or ``TypeError``, as everywhere in Python; on the command
line it exits with 2.
"""


class LoadingError(Exception):
    """A model, checkpoint, data set, loss or stored result cannot be loaded or does not fit; the
    message says how to mend it.

    Examples:
        >>> import landscape as ls
        >>> try:
        ...     ls.load("no-such-run")
        ... except ls.LoadingError as error:
        ...     print(error)
        no-such-run holds no result: result.json is missing. Pass a folder that a run has written.
    """

    exit_code = 3


class NotChecked(UserWarning):
    """A stored result has no checksums, so that damage to it may not be seen."""


FULL = (
    "DefaultCPUAllocator",
    "not enough memory",
    "out of memory",
    "can't allocate",
    "bad_alloc",  # C++
    "STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN, for their own room
)


def memory_is_full(error: BaseException) -> bool:
    """Whether an allocation failed: torch says so by several kinds of error."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in FULL)


class NumericalError(ArithmeticError):
    """A value, gradient or product is NaN or infinite, or a kernel has no second derivative.

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: x.log().sum(-1), 1)
        >>> try:
        ...     ls.eigsh(ls.Hessian(f, [0.0]), largest=1)
        ... except ls.NumericalError as error:
        ...     print(error)
        product 1 with H has a NaN or inf: check that the loss is finite at this point.
    """

    exit_code = 4


class RanksError(RuntimeError):
    """Another process of a run over several ranks has ended before its time."""

    exit_code = 4
