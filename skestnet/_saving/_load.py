"""Loading an estimator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator

from skestnet._saving._allowed import allowed_types
from skestnet._saving._container import Members, unsealed
from skestnet._saving._contents import check_contents
from skestnet._saving._networks import fitted_networks, rebuild_network
from skestnet._saving._vet import UnknownTypeError, vet

ESTIMATOR = "estimator.skops"
MAX_REASON = 500


def load(path: str | PathLike[str]) -> Any:
    """Load an estimator that `save` has written.

    Nothing from the file is run: whatever is in it, only estimators of skestnet and scikit-learn
    are built, and there is no way from here to pickle. Whether the estimator predicts anything
    sensible is another matter: see the file SECURITY.md of the project.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    estimator
        The estimator, as it was saved. Networks compute on the device that their parameter
        `device` names.

    Raises
    ------
    ImportError
        If skops or safetensors is not installed.
    ValueError
        If the file was not written by `save`, is damaged, holds something that it may not hold, or
        was written by a newer release.
    OSError
        If the file cannot be read.

    Warns
    -----
    InconsistentVersionWarning
        If it holds estimators of another version of scikit-learn: they may work or not.
    UserWarning
        If a network's `device` is not there: it then computes on the CPU.

    See Also
    --------
    save : The way there.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import skestnet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     skestnet.save(skestnet.EstNetRegressor(depth=34), Path(folder, "network.skestnet"))
    ...     skestnet.load(Path(folder, "network.skestnet"))
    EstNetRegressor(depth=34)
    """
    import_skops()
    data = Path(path).read_bytes()
    with loading(path) as versions:
        members, found = unsealed(data)
        versions.update(found)
        return build(members)


@contextmanager
def loading(path: str | PathLike[str]) -> Iterator[dict[str, str]]:
    """Say why a file cannot be loaded; the versions in it, once known, may be the reason."""
    versions: dict[str, str] = {}
    try:
        yield versions
    except Exception as error:  # damage makes parsers raise almost anything
        raise ValueError(f"Cannot load {path}: {_reason(error)}.{_differing(versions)}") from error


def build(members: Members) -> Any:
    """Build the estimator that members of a file describe.

    Raises
    ------
    ValueError, TypeError
        If they hold something that they may not hold.
    """
    skops_io = import_skops()
    members = dict(members)
    archive = members.pop(ESTIMATOR)
    vet(archive)
    trusted = sorted(frozenset[str]().union(*allowed_types().values()))
    estimator = skops_io.loads(archive, trusted=trusted)
    if not isinstance(estimator, BaseEstimator):
        raise ValueError(f"it holds a {type(estimator).__name__}, not an estimator")
    check_contents(estimator)
    nets: dict[str, Any] = {}
    for regressor in fitted_networks(estimator):
        name = regressor.net_
        if name not in nets:
            packed = members[f"{name}.json"], members[f"{name}.safetensors"]
            nets[name] = rebuild_network(regressor, *packed)
        regressor.net_ = nets[name]
    return estimator


def _reason(error: Exception) -> str:
    text = str(error).rstrip(".")
    if type(error) in (ValueError, UnknownTypeError):
        return text
    return f"its content is damaged ({type(error).__name__}: {text[:MAX_REASON]})"


def import_skops() -> Any:
    """Return `skops.io`, or say how to install what saving needs."""
    try:
        import safetensors.torch  # noqa: F401
        import skops.io
    except ImportError as error:
        raise ImportError(
            'Saving and loading need skops and safetensors: pip install "skestnet[save]".'
        ) from error
    return skops.io


def _differing(versions: dict[str, str]) -> str:
    """Say which versions differ from those that wrote the file, since they may be the reason."""
    differing = [
        f"{name} {saved} (here {here})"
        for name, saved in versions.items()
        if (here := _installed(name)) not in (saved, None)
    ]
    return f" It was saved with {', '.join(differing)}." if differing else ""


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
