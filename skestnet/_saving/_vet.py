"""Vetting what skops wrote, before skops builds anything of it.

skops has an audit of its own, which runs as well. Its past vulnerabilities (CVE-2025-54412 and
CVE-2025-54413) were nodes that built something else than what had been audited. So all kinds of
nodes that can call something are refused here, and each remaining kind has its own list of types.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from sklearn.tree._tree import NODE_DTYPE

from skestnet._saving._allowed import allowed_types
from skestnet._saving._container import Header, Members, check_array, unzipped

SCHEMA = "schema.json"
# What shared nodes may amount to when they are written out: skops walks through them that way.
MAX_NODES = 10_000_000
SHARED = "CachedNode"
POOL_SIZE = "4"  # of the entropy of a numpy.random.SeedSequence
FUNCTIONS = {"FunctionNode", "MethodNode", "PartialNode", "OperatorFuncNode"}
HINT = "Of functions, only some of NumPy and SciPy are allowed, such as np.log10."


class UnknownTypeError(TypeError):
    """An estimator holds something that a file may not hold."""


def vet(archive: bytes) -> None:
    """Check an archive that `skops.io` has written.

    Raises
    ------
    UnknownTypeError
        If it holds a type or a function that is not allowed.
    ValueError
        If it is damaged.
    """
    members = unzipped(archive)
    schema = json.loads(members[SCHEMA])
    _Walk(members).visit(schema, "estimator")
    _check_arrays(members)


def _check_arrays(members: Members) -> None:
    for name, content in members.items():
        if name.endswith(".npy"):
            check_array(name, content)
        elif name.endswith(".npz"):
            _check_arrays(unzipped(content))
        elif name != SCHEMA:
            raise ValueError(f"there is an unknown member {name} in it")


class _Walk:
    """A walk through nodes, which counts them as if shared ones were written out."""

    def __init__(self, members: Members) -> None:
        self.members = members
        self.sizes: dict[Any, int] = {}
        self.nodes: dict[Any, dict[str, Any]] = {}

    def visit(self, state: Any, where: str) -> int:
        """Vet a node or a collection of nodes; return how many there are."""
        if isinstance(state, list):
            return sum(self.visit(item, f"{where}[{i}]") for i, item in enumerate(state))
        if not isinstance(state, dict):
            return 0
        if "__loader__" not in state:
            return sum(self.visit(item, _below(where, key)) for key, item in state.items())
        if state["__loader__"] != SHARED:
            self._visit_node(state, where)
        size = self.sizes[state["__id__"]]
        if not 0 < size <= MAX_NODES:
            raise ValueError(f"{where} contains itself, or more than {MAX_NODES} parts")
        return size

    def _visit_node(self, state: dict[str, Any], where: str) -> None:
        kind, full_name = state["__loader__"], f"{state['__module__']}.{state['__class__']}"
        if full_name not in allowed_types().get(kind, frozenset()):
            hint = f" {HINT}" if kind in FUNCTIONS else ""
            raise UnknownTypeError(f"{where} is a {full_name}, which a file may not hold.{hint}")
        identity = state["__id__"]
        if identity in self.sizes:  # skops would take one of them, and not look at the other
            raise ValueError(f"{where} has the identity of another part")
        self.sizes[identity], self.nodes[identity] = 0, state
        size = 1 + sum(self.visit(state[key], _below(where, key)) for key in in_order(state))
        self.sizes[identity] = size
        if kind == "RandomGeneratorNode":
            self._check_generator(state)
        elif kind == "TreeNode":
            self._check_tree(state)

    def _check_generator(self, state: dict[str, Any]) -> None:
        """Check a number that a file could make any memory be taken for."""
        seed = self._node(state["content"]["seed_seq"])
        pool_size = self._node(seed["content"]["pool_size"])
        if pool_size["content"] != POOL_SIZE:
            raise ValueError("a random generator has a pool of unusual size")

    def _check_tree(self, state: dict[str, Any]) -> None:
        """Check what compiled code will copy: arrays of the nodes and outputs that there are."""
        content = self._node(state["content"])["content"]
        args = self._node(state["__reduce__"]["args"])["content"]
        n_nodes = self._integer(content["node_count"])
        n_outputs = self._integer(args[2])
        same = [
            # Without dimensions, they would make scikit-learn read at the address zero.
            self._header(content["nodes"]) == ((n_nodes,), NODE_DTYPE),
            self._header(content["values"]) == ((n_nodes, n_outputs, 1), np.dtype(np.float64)),
            self._header(args[1]) == ((n_outputs,), np.dtype(np.intp)),
        ]
        if not all(same) or n_nodes < 1 or n_outputs < 1:
            raise ValueError("a tree has not as many nodes or outputs as it says")

    def _node(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return what a node is, or what a reference to one refers to."""
        return self.nodes[state["__id__"]]

    def _integer(self, state: dict[str, Any]) -> int:
        """Return the number of a node."""
        return int(self._node(state)["content"])

    def _header(self, state: dict[str, Any]) -> Header:
        """Return shape and dtype of the array of a node."""
        node = self._node(state)
        if f"{node['__module__']}.{node['__class__']}" != "numpy.ndarray":
            raise ValueError("a tree has something else in the place of an array")
        return check_array(node["file"], self.members[node["file"]])


def _below(where: str, key: str) -> str:
    return where if key in ("content", "key_types") else f"{where}.{key}"


def in_order(state: dict[str, Any]) -> list[str]:
    """Return the keys of a node in the order in which skops follows them."""
    last = {"key_types": -1, "__reduce__": 1}
    return sorted(state, key=lambda key: last.get(key, 0))


def shared_once(state: Any, seen: set[Any]) -> Any:
    """Return a tree in which nodes of the same identity as an earlier one only refer to it."""
    if isinstance(state, list):
        return [shared_once(item, seen) for item in state]
    if not isinstance(state, dict):
        return state
    if "__loader__" not in state:
        return {key: shared_once(item, seen) for key, item in state.items()}
    identity = {"__id__": state["__id__"]}
    if state["__id__"] in seen:
        return {"__class__": None, "__module__": None, "__loader__": SHARED, **identity}
    seen.add(state["__id__"])
    return {key: shared_once(state[key], seen) for key in in_order(state)}


def files_of(state: Any) -> set[str]:
    """Return the names of the members that a tree refers to."""
    if isinstance(state, dict):
        own = {state["file"]} if "__loader__" in state and "file" in state else set[str]()
        return own.union(*(files_of(item) for item in state.values()))
    return set[str]().union(*map(files_of, state)) if isinstance(state, list) else set()
