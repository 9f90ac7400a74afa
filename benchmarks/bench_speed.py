"""What does the package cost on top of the network, and where does the network's time go?

Held fixed: spectra, batches of 32, optimiser, loss, number of epochs; whatever is compared
alternates in one process, every other round backwards, and ratios are taken round by round.

training: `EstNetRegressor.fit` with one stage, without validation and without noise, which is the
work of a bare loop in plain torch over the same network, against that loop. Whole calls of `fit`
are timed, with all that they do before and after the epochs; the epochs alone are in a column of
their own. The same with a validation fraction of 0.1 and as many spectra to train on shows what the
validation costs. "share_of_matmul" is the arithmetic of forward and backward pass, as torch counts
it, in units of what one large product of float32 matrices reaches (TF32 on a GPU). Denormal
numbers, which some initial weights lead to and others do not, cost a processor a hundred times as
much as others: with --flush they are taken for zero, in both.

prediction: `predict`, `predict_dist` with 200 draws, and one pass of the whole network with dropout
switched on, whose time is multiplied by 200: what Monte Carlo dropout costs without a trick.

modes: steps of training and predictions on a fixed set of batches, in float32 as the package does
them, compiled by `torch.compile`, and with bfloat16 autocast; and the estimator's epochs with
``net_params={"compile": True}``, without the first of them, in which it compiles. "first_s" is the
first call of each, with torch's cache of compiled code as it was.

profile: where the time of a training step goes, by kind of layer, forward and backward.

On a GPU, where there is one, training and prediction are run there too. A run that was killed goes
on where it stopped; ``--parts`` and ``--networks`` run some of it. About 35 minutes on two cores;
``--quick`` half a minute: it compiles without a compiler, and saves nothing.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _results import Progress, print_table, save_table
from _speed import (
    BATCH,
    DROPOUT,
    LR,
    WEIGHT_DECAY,
    Rows,
    Spectra,
    Timed,
    alternate,
    bare_training,
    of_part,
    one_stage,
    run_tasks,
    spectra,
    spread,
)
from torch import nn
from torch.nn.functional import huber_loss
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from skestnet import EstNetRegressor
from skestnet.nn import EstNet

N_DRAWS = 200
TARGETS = {"fit": ("at least", 0.97), "predict_dist": ("at most", 1.05), "full": ("at least", 100)}


class Size(NamedTuple):
    """A network, and how many spectra take it ten seconds or so."""

    depth: int
    width: int
    n_train: int
    n_predict: int
    n_pixels: int = 977

    @property
    def params(self) -> dict[str, int]:
        """The regressor's parameters."""
        return {"depth": self.depth, "width": self.width}

    def network(self) -> EstNet:
        """Build the network that the regressor would build."""
        return EstNet(self.n_pixels, 2, dropout=DROPOUT, **self.params)


SIZES = {
    "laptop": Size(12, 16, 2048, 2048),
    "width 64": Size(12, 64, 512, 512),
    "width 64, depth 34": Size(34, 64, 256, 256),
}
QUICK = {"laptop": Size(12, 2, 64, 64, 100)}
EPOCHS = 2
ON_GPU = 16  # times as many spectra


# ---- Training ----------------------------------------------------------------------------------


def training(name: str, size: Size, device: str, repeats: int) -> Rows:
    n = size.n_train
    X, y = spectra(n, size.n_pixels)
    X_more, y_more = spectra(round(n / 0.9), size.n_pixels)  # a tenth of them is set aside

    def fit(X: Any, y: Any, **params: Any) -> list[dict[str, Any]]:
        regressor = one_stage(EPOCHS, device=device, **size.params, **params)
        return regressor.fit(X, y).history_

    contenders: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "bare loop": lambda: bare_training(size.network(), X, y, EPOCHS, device),
        "fit": lambda: fit(X, y),
        "fit, validation": lambda: fit(X_more, y_more, validation_fraction=0.1),
    }
    fit(X[:BATCH], y[:BATCH])  # what is done once in a process
    timed = alternate(contenders, repeats)
    flop, best = flop_per_spectrum(size), matmul_flop_per_second(device, size.n_pixels)
    common = {"device": device, "network": name, "n_pixels": size.n_pixels, "repeats": repeats}
    return [
        {
            **common,
            "n_spectra": n,
            "epochs": EPOCHS,
            "what": what,
            **throughput(some, n),
            **against(some.seconds, timed["bare loop"].seconds, "fit" if what == "fit" else ""),
            "GFLOP_per_spectrum": flop / 1e9,
            "share_of_matmul": flop * np.median(EPOCHS * n / some.seconds) / best,
        }
        for what, some in timed.items()
    ]


def throughput(timed: Timed, n: int) -> dict[str, float]:
    """Return spectra per second of whole calls, and of their epochs alone."""
    epochs = np.array([sum(e["seconds"] for e in history) for history in timed.results])
    whole = spread("per_second", EPOCHS * n / timed.seconds)
    return {**whole, "per_second_epochs": float(np.median(EPOCHS * n / epochs))}


def against(seconds: Any, control: Any, target: str) -> dict[str, Any]:
    """Return how many times as fast as the control, and whether the target was met."""
    return judged(spread("ratio", control / seconds), target)


def judged(ratio: dict[str, float], target: str) -> dict[str, Any]:
    if not target:
        return {**ratio, "target": "", "met": ""}
    bound, value = TARGETS[target]
    met = ratio["ratio"] >= value if bound == "at least" else ratio["ratio"] <= value
    return {**ratio, "target": f"{bound} {value}", "met": bool(met)}


def flop_per_spectrum(size: Size) -> float:
    """Count the operations of a forward and a backward pass; on the CPU, where the GRU counts."""
    module, X = size.network(), torch.zeros(BATCH, size.n_pixels)
    with FlopCounterMode(display=False) as counter:
        module(X).sum().backward()
    return counter.get_total_flops() / BATCH


def matmul_flop_per_second(device: str, n_pixels: int) -> float:
    """Measure what a large product of float32 matrices reaches; a small one in the quick mode."""
    n = (8192 if device == "cuda" else 4096) if n_pixels > 500 else 512
    kept = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True  # as convolutions do
    a = torch.ones(n, n, device=device)

    def multiply() -> None:
        (a @ a)[0, 0].item()  # waits for the GPU

    multiply()
    seconds = alternate({"matmul": multiply}, 7)["matmul"].seconds
    torch.backends.cuda.matmul.allow_tf32 = kept
    return 2 * n**3 / float(np.median(seconds))


# ---- Prediction --------------------------------------------------------------------------------


def prediction(name: str, size: Size, device: str, repeats: int) -> Rows:
    n = size.n_predict
    X, _ = spectra(n, size.n_pixels)
    regressor = barely_fitted(size, device)
    module = regressor.net_.module_
    contenders: dict[str, Callable[[], Any]] = {
        "predict": lambda: regressor.predict(X),
        "predict_dist": lambda: regressor.predict_dist(X, n_draws=N_DRAWS),
        "full pass": lambda: full_pass(module, X, device),
    }
    for call in contenders.values():  # what is done once in a process
        call()
    timed = {what: some.seconds for what, some in alternate(contenders, repeats).items()}
    timed["200 full passes"] = N_DRAWS * timed.pop("full pass")
    ratios = {
        "predict": judged(spread("ratio", timed["predict"] / timed["predict"]), ""),
        "predict_dist": judged(
            spread("ratio", timed["predict_dist"] / timed["predict"]), "predict_dist"
        ),
        "200 full passes": judged(
            spread("ratio", timed["200 full passes"] / timed["predict_dist"]), "full"
        ),
    }
    common = {"device": device, "network": name, "n_pixels": size.n_pixels, "repeats": repeats}
    to = {"predict": "predict", "predict_dist": "predict", "200 full passes": "predict_dist"}
    return [
        {
            **common,
            "n_spectra": n,
            "what": what,
            **spread("per_second", n / seconds),
            "time_relative_to": to[what],
            **ratios[what],
        }
        for what, seconds in timed.items()
    ]


def barely_fitted(size: Size, device: str) -> EstNetRegressor:
    """Train just enough to have a network: its cost does not depend on its weights."""
    X, y = spectra(4, size.n_pixels)
    return one_stage(1, device=device, **size.params).fit(X, y)


@torch.no_grad()
def full_pass(module: nn.Module, X: Spectra, device: str) -> np.ndarray:
    """Make one draw of plain Monte Carlo dropout: the network as a whole, its dropout on."""
    module.eval()
    module.output.dropout.train()
    batches = (torch.from_numpy(X[start : start + BATCH]) for start in range(0, len(X), BATCH))
    draw = torch.cat([module(batch.to(device)) for batch in batches]).cpu().numpy()
    module.eval()
    return draw


# ---- Other ways of computing -------------------------------------------------------------------

MODES = ("float32", "torch.compile", "bfloat16")


def modes(name: str, size: Size, repeats: int, backend: str) -> Rows:
    X, y = spectra(min(size.n_train, 512), size.n_pixels)
    contenders = {
        "training steps": {mode: steps(size, X, y, mode, backend) for mode in MODES},
        "prediction": {mode: passes(size, X, mode, backend) for mode in MODES},
    }
    common = {"network": name, "n_pixels": size.n_pixels, "repeats": repeats}
    rows = []
    for what, some in contenders.items():
        first = {mode: first_call(call) for mode, call in some.items()}
        able = {mode: call for mode, call in some.items() if not first[mode]["note"]}
        timed = {mode: t.seconds for mode, t in alternate(able, repeats).items()}
        lines = with_ratios({mode: timed.get(mode, np.full(repeats, np.nan)) for mode in some})
        rows += [
            {**common, "what": what, "mode": mode, **line, **first[mode]}
            for mode, line in zip(some, lines, strict=True)
        ]
    return rows + [{**common, **row} for row in estimator_modes(size, X, y, repeats, backend)]


def with_ratios(seconds: dict[str, Any]) -> Rows:
    """Return seconds and how many times as fast as the first."""
    control = next(iter(seconds.values()))
    return [
        {**spread("seconds", some), **spread("times_as_fast", control / some)}
        for some in seconds.values()
    ]


def first_call(call: Callable[[], Any]) -> dict[str, Any]:
    """Call for the first time, which may compile; say why where that fails."""
    try:
        seconds = alternate({"first": call}, 1)["first"].seconds
    except Exception as error:  # whatever compilers and backends raise
        return {"first_s": np.nan, "note": short(error)}
    return {"first_s": float(seconds[0]), "note": ""}


def short(error: Exception) -> str:
    message = str(error).splitlines()
    return f"{type(error).__name__}: {message[0] if message else ''}"[:200]


def called(module: nn.Module, mode: str, backend: str) -> tuple[Callable[..., Any], Any]:
    """Return what to call, and a context to call it in."""
    call = torch.compile(module, backend=backend) if mode == "torch.compile" else module
    lower = torch.autocast("cpu", dtype=torch.bfloat16) if mode == "bfloat16" else nullcontext()
    return call, lower


def steps(size: Size, X: Spectra, y: Any, mode: str, backend: str) -> Callable[[], None]:
    module = size.network().train()
    call, context = called(module, mode, backend)
    optimizer = torch.optim.Adam(module.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    batches = torch.from_numpy(X).split(BATCH)
    targets = torch.as_tensor(y, dtype=torch.float32).split(BATCH)

    def train() -> None:
        for batch, target in zip(batches, targets, strict=True):
            optimizer.zero_grad()
            with context:
                predicted = call(batch)
            huber_loss(predicted.float(), target).backward()
            optimizer.step()

    return train


def passes(size: Size, X: Spectra, mode: str, backend: str) -> Callable[[], None]:
    call, context = called(size.network().eval(), mode, backend)

    @torch.no_grad()
    def predict() -> None:
        for batch in torch.from_numpy(X).split(BATCH):
            with context:
                call(batch)

    return predict


def estimator_modes(size: Size, X: Spectra, y: Any, repeats: int, backend: str) -> Rows:
    """Compare the later epochs of the estimator, eager and compiled."""

    def fit(compiled: bool) -> list[float]:
        net_params = {"compile": True, "compile__backend": backend} if compiled else None
        regressor = one_stage(4, net_params=net_params, **size.params)
        return [epoch["seconds"] for epoch in regressor.fit(X, y).history_]

    first = first_call(partial(fit, True))
    ways = {"float32": False, "torch.compile": True}
    able = {mode: partial(fit, way) for mode, way in ways.items() if not (way and first["note"])}
    later = {
        mode: np.array([np.median(epochs[1:]) for epochs in timed.results])
        for mode, timed in alternate(able, repeats).items()
    }
    lines = with_ratios({mode: later.get(mode, np.full(repeats, np.nan)) for mode in ways})
    notes = [{"first_s": np.nan, "note": ""}, first]
    return [
        {"what": "epochs of EstNetRegressor", "mode": mode, **line, **note}
        for mode, line, note in zip(ways, lines, notes, strict=True)
    ]


# ---- Profile -----------------------------------------------------------------------------------

KINDS = {
    nn.Conv1d: "convolutions",
    nn.BatchNorm1d: "batch normalisation",
    nn.PReLU: "PReLU",
    nn.GRU: "GRU",
}
OTHER = "the rest of the network"
OPTIMISER = "optimiser"


def profiled(name: str, size: Size, n_steps: int) -> Rows:
    X, y = spectra(BATCH, size.n_pixels)
    module = size.network().train()
    batch, target = torch.from_numpy(X), torch.as_tensor(y, dtype=torch.float32)
    optimizer = torch.optim.Adam(module.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)

    def step() -> None:
        optimizer.zero_grad()
        huber_loss(module(batch), target).backward()
        optimizer.step()

    step()
    plain = np.median(alternate({"step": step}, n_steps)["step"].seconds)
    with labelled(module), profile(activities=[ProfilerActivity.CPU]) as prof:
        for _ in range(n_steps):
            step()
    share = shares(prof.events())
    return [
        {
            "network": name,
            "n_pixels": size.n_pixels,
            "batch": BATCH,
            "steps": n_steps,
            "part": part,
            "share": value,
            "step_ms": 1e3 * plain,
            "profiled_step_ms": prof_ms(prof.events()) / n_steps,
        }
        for part, value in sorted(share.items(), key=lambda item: -item[1])
    ]


def labelled(module: nn.Module) -> ExitStack:
    """Name what layers do for the profiler, until the stack is closed."""
    stack = ExitStack()
    for layer in module.modules():
        if type(layer) not in KINDS:
            continue
        name, running = f"part: {KINDS[type(layer)]}", []

        def before(*_: Any, name: str = name, running: list[Any] = running) -> None:
            running.append(record_function(name))
            running[-1].__enter__()

        def after(*_: Any, running: list[Any] = running) -> None:
            running.pop().__exit__(None, None, None)

        stack.callback(layer.register_forward_pre_hook(before).remove)
        stack.callback(layer.register_forward_hook(after).remove)
    return stack


def shares(events: Any) -> dict[str, float]:
    """Return the share of each kind of layer in the time on the CPU.

    A backward operation has the number of the forward operation that it belongs to, the last one
    that began with this number.
    """
    order = sorted(events, key=lambda event: event.time_range.start)
    forward = {e.sequence_nr: part_of(e, {}) for e in order if not in_backward(e)}
    total = dict.fromkeys([*KINDS.values(), OTHER, OPTIMISER], 0.0)
    for event in order:
        total[part_of(event, forward)] += event.self_cpu_time_total
    everything = sum(total.values())
    return {part: value / everything for part, value in total.items()}


def prof_ms(events: Any) -> float:
    return sum(event.self_cpu_time_total for event in events) / 1e3


BACKWARD = "autograd::engine::evaluate_function"


def ancestors(event: Any) -> Any:
    while event is not None:
        yield event
        event = event.cpu_parent


def in_backward(event: Any) -> bool:
    return any(e.name.startswith(BACKWARD) for e in ancestors(event))


def part_of(event: Any, forward: dict[int, str]) -> str:
    for e in ancestors(event):
        if e.name.startswith("part: "):
            return e.name.removeprefix("part: ")
        if e.name.startswith("Optimizer."):
            return OPTIMISER
        if e.name.startswith(BACKWARD):
            return forward.get(e.sequence_nr, OTHER)
    return OTHER


# ---- All of them -------------------------------------------------------------------------------

PARTS = ("training", "prediction", "modes", "profile")


def tasks(
    parts: list[str], sizes: dict[str, Size], quick: bool
) -> dict[tuple[str, ...], Callable[[], Rows]]:
    """List what there is to do."""
    repeats, backend = (2, "eager") if quick else (7, "inductor")
    todo: dict[tuple[str, ...], Callable[[], Rows]] = {}
    for device in devices():
        for name, size in sizes.items():
            if device == "cuda":
                more = {"n_train": size.n_train, "n_predict": size.n_predict}
                size = size._replace(**{key: ON_GPU * n for key, n in more.items()})
            todo["training", device, name] = partial(training, name, size, device, repeats)
            todo["prediction", device, name] = partial(prediction, name, size, device, 9)
    if "laptop" in sizes:
        todo["modes", "laptop"] = partial(modes, "laptop", sizes["laptop"], repeats, backend)
    for name, size in sizes.items():
        todo["profile", name] = partial(profiled, name, size, 3 if quick else 10)
    return {key: todo[key] for part in parts for key in todo if key[0] == part}


def devices() -> list[str]:
    if torch.cuda.is_available():
        return ["cpu", "cuda"]
    print("no GPU: the CPU only")
    return ["cpu"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--networks", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--flush", action="store_true", help="take denormal numbers for zero")
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    flushed = "_flushed" if arguments.flush else ""
    if flushed:
        # Here, since threads that there are do not hear of it.
        assert torch.set_flush_denormal(True), "this processor cannot flush denormal numbers"
    here = Path(__file__)
    scripts = here, here.with_name("_speed.py")
    progress = None if arguments.quick else Progress(f"speed{flushed}", *scripts)
    sizes = QUICK if arguments.quick else {name: SIZES[name] for name in arguments.networks}
    rows = run_tasks(tasks(arguments.parts, sizes, arguments.quick), progress)
    for part in arguments.parts:
        mine = of_part(rows, part)
        print_table(mine)
        if not arguments.quick:
            print("saved", save_table(f"speed_{part}{flushed}", mine).name)


if __name__ == "__main__":
    main()
