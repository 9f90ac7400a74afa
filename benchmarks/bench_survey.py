"""How many spectra a second, all the way to a catalogue?

The default network, barely trained, on a memmap of 10,000 spectra of 977 pixels; both labels, and
the bounds of their 68% intervals. `predict_survey` writes a FITS table; Dask's processes, one for
each core, send theirs back to the session (the recipe for arrays of the guide). Rounds alternate.
What is done once is not counted: starting Dask, loading the model.

"Dask as it comes" is without the guide's setting for memory. With MALLOC_TRIM_THRESHOLD_ in their
environment, as Dask starts them, processes under Linux get every block above 128 KB from the system
and give it back (mallopt(3)), and so all maps of a network; MALLOC_MMAP_THRESHOLD_ raises that
limit to 32 MB.

Needs the extras save and distributed. About eight minutes on two cores; ``--quick`` half a minute,
and it saves nothing.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import print_table, save_table
from _speed import alternate, one_stage, spectra, spread

from skestnet import predict_dist, predict_survey, save

N_PIXELS = 977
LARGE_BLOCKS = {"distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25}
Calls = dict[str, Callable[[], Any]]


def labels(flux: Any, model: Any) -> Any:
    """Estimate both labels and the bounds of their 68% intervals, in six columns."""
    return np.hstack([model.predict(flux), *predict_dist(model, flux).interval(0.68)])


def in_this_process(model: Any, X: Any) -> Calls:
    def survey() -> None:
        limits = {"confidence": 0.68, "overwrite": True, "verbose": 0}
        predict_survey(model, X, "catalogue.fits", **limits)

    return {
        "predict": lambda: model.predict(X),
        "predict_dist, intervals": lambda: predict_dist(model, X).interval(0.68),
        "predict_survey": survey,
    }


def on_dask(X: Any, client: Any) -> Callable[[], Any]:
    import dask
    import dask.array as da

    from skestnet import load

    model = dask.delayed(load)(str(Path("model.skestnet").resolve()))
    rows = da.from_array(X, chunks=(2048, -1))
    chunks = (rows.chunks[0], (6,))
    catalogue = rows.map_blocks(labels, model=model, chunks=chunks, meta=np.empty((0, 0)))
    return lambda: client.compute(catalogue).result()


def measured(calls: Calls, n: int, cores: int, repeats: int) -> list[dict[str, Any]]:
    for call in calls.values():
        call()
    timed = alternate(calls, repeats)
    about = {"cores": cores, "n_spectra": n, "n_pixels": N_PIXELS, "repeats": repeats}
    return [
        {"what": what, **about, **spread("per_second", n / some.seconds)}
        for what, some in timed.items()
    ]


def run(n: int, repeats: int) -> list[dict[str, Any]]:
    import dask
    from distributed import Client, LocalCluster

    X, y = spectra(n, N_PIXELS)
    model = one_stage(1).fit(X[:64], y[:64])
    save(model, "model.skestnet")
    np.save("spectra.npy", X)
    on_disk = np.load("spectra.npy", mmap_mode="r")
    rows = []
    cores = torch.get_num_threads()
    for threads in sorted({1, cores}):
        torch.set_num_threads(threads)
        rows += measured(in_this_process(model, on_disk), n, threads, repeats)
    processes = {"n_workers": cores, "threads_per_worker": 1, "host": "127.0.0.1"}
    with ExitStack() as stack:
        calls = {}
        # In this order: the second cluster's processes alone get the variable.
        for name, setting in {"Dask as it comes": {}, "Dask": LARGE_BLOCKS}.items():
            with dask.config.set(setting):
                cluster = stack.enter_context(LocalCluster(**processes, dashboard_address=None))
            client = stack.enter_context(Client(cluster, set_as_default=False))
            calls[f"{name}, labels and intervals"] = on_dask(on_disk, client)
        rows += measured(calls, n, cores, repeats)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            rows = run(500, 1) if arguments.quick else run(10_000, 5)
        finally:
            os.chdir(before)
    print_table(rows)
    if not arguments.quick:
        print("saved", save_table("survey", rows).name)


if __name__ == "__main__":
    main()
