"""Saving an estimator."""

from __future__ import annotations

import io
import json
import os
import platform
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skestnet._saving._container import Members, check_place, sealed, write_atomically, zipped
from skestnet._saving._load import ESTIMATOR, build, import_skops
from skestnet._saving._networks import fitted_networks, networks, pack_network
from skestnet._saving._vet import SCHEMA, files_of, shared_once

RECORDED = ("numpy", "scipy", "scikit-learn", "torch", "skorch", "skops", "safetensors")
ADVICE = (
    "Leave that part out, or save the estimator with joblib.dump, whose files are "
    "only for those who trust you."
)


def save(estimator: Any, path: str | PathLike[str]) -> None:
    """Save an estimator, fitted or not, to a file that `load` reads without running anything.

    Networks are stored as safetensors, all else by `skops <https://skops.readthedocs.io>`_. What
    can be saved: the estimators and transformers of skestnet, most regressors, transformers,
    pipelines and searches of scikit-learn, and what these hold. Not functions, but for some of
    NumPy's such as ``np.log10``; not estimators of other libraries. `pickle` and `joblib` take
    all of these.

    A loaded estimator gives the same predictions and distributions, bit by bit, on the same
    versions and machine. What is left out is the state of a network's optimiser: a ``warm_start``
    goes on from the weights, with a fresh one; and the name of its `checkpoint`.

    Parameters
    ----------
    estimator : estimator
        What to save.
    path : str or path-like
        Where. The file is written beside it and then renamed, so that a file that is there is
        replaced as a whole or not at all. The ending ``.skestnet`` is usual, but any will do.

    Raises
    ------
    ImportError
        If skops or safetensors is not installed.
    TypeError
        If the estimator holds something that cannot be saved; the message says where.
    ValueError
        If the estimator could not be loaded again.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : The way back.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import skestnet
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skestnet.datasets import make_white_dwarfs
    >>> X, y = make_white_dwarfs(40, n_pixels=100, return_X_y=True, random_state=0)
    >>> network = skestnet.EstNetRegressor(width=4, max_epochs=1, random_state=0)
    >>> model = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     skestnet.save(model, Path(folder, "model.skestnet"))
    ...     loaded = skestnet.load(Path(folder, "model.skestnet"))
    >>> bool((loaded.predict(X) == model.predict(X)).all())
    True
    """
    import_skops()
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"Cannot save a {type(estimator).__name__}: expected an estimator.")
    check_place(Path(path), f"path={os.fspath(path)!r}")
    with saving("the estimator"):
        members = packed(estimator)
        build(members)  # what cannot be loaded is to fail now
    write_atomically(Path(path), seal(members))


@contextmanager
def saving(what: str) -> Iterator[None]:
    """Say why something cannot be saved, and what to do."""
    try:
        yield
    except TypeError as error:
        raise TypeError(f"Cannot save {what}: {error} {ADVICE}") from error
    except RecursionError as error:
        raise ValueError(
            f"Cannot save {what}: it is nested too deeply, or something in it refers back to "
            f"itself, as requests for metadata do (set_fit_request). {ADVICE}"
        ) from error
    except Exception as error:  # what objects of others raise when they are taken apart
        reason = str(error).rstrip(".")
        raise ValueError(f"Cannot save {what}: {reason}. {ADVICE}") from error


def packed(estimator: Any) -> Members:
    """Return the members of the file; the estimator is left as it was."""
    members: Members = {}
    names: dict[int, str] = {}
    for regressor in fitted_networks(estimator):
        if id(regressor.net_) not in names:
            name = names[id(regressor.net_)] = f"network-{len(names)}"
            members[f"{name}.json"], members[f"{name}.safetensors"] = pack_network(regressor)
    # The copy has the names of the networks in their place.
    copied = deepcopy(estimator, dict[int, Any](names))
    for regressor in networks(copied):
        regressor.checkpoint = None  # a file of this machine
    return {ESTIMATOR: _repacked(import_skops().dumps(copied)), **members}


def seal(members: Members) -> bytes:
    """Return the content of a file that says when it was written, and with which versions."""
    return sealed(members, _versions(), datetime.now(UTC).isoformat(timespec="seconds"))


def _repacked(archive: bytes) -> bytes:
    """Return an archive of skops in which nothing is compressed, and nothing there twice."""
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        schema = shared_once(json.loads(members.read(SCHEMA)), set())
        content = {name: members.read(name) for name in files_of(schema)}
    for name in content:
        if name.endswith(".npz"):
            with np.load(io.BytesIO(content[name]), allow_pickle=False) as arrays:
                buffer = io.BytesIO()
                np.savez(buffer, **arrays)
            content[name] = buffer.getvalue()
    return zipped({SCHEMA: json.dumps(schema, separators=(",", ":")).encode(), **content})


def _versions() -> dict[str, str]:
    from skestnet import __version__

    installed = {name: version(name) for name in RECORDED}
    return {"skestnet": __version__, "python": platform.python_version(), **installed}
