"""Where a model runs: device, number type and threads, checked before anything is loaded."""

from common.errors import UsageError


def settle_device(device: str, *, threads: int | None = None) -> str:
    """The device that "auto" or a name means here, with the number of CPU threads set.

    Args:
        device: "auto" (a CUDA GPU where there is one), "cpu", "cuda", "cuda:1", "mps".
        threads: threads of one operation on the CPU; None leaves torch's own choice.

    Raises:
        UsageError: torch has no such device here.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"the device: expected one that can be used here, got {device!r}",
            remedy="Use cpu, or install a build of torch for that device",
        ) from error
    return device
