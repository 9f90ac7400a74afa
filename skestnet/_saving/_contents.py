"""The objects inside an estimator, and checks of those whose compiled code trusts them.

scikit-learn's trees and SciPy's sparse matrices follow their indices without a check, so indices
from a file could make a later `predict` read memory that is not theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import Tree

# What an estimator holds that is looked at by `_networks`.
NET = "net_"
# The position in the 624 numbers that a Mersenne twister draws at once.
LARGEST_POSITION = 624
# In the place of the children of a leaf.
LEAF = -1


def objects_in(root: Any) -> Iterator[Any]:
    """Loop over everything that can be reached from an estimator, each object once.

    Networks are not entered, and neither are arrays of numbers.
    """
    seen: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, type | FunctionType | ModuleType):
            continue
        seen[id(found)] = found
        yield found
        waiting.extend(_parts_of(found))


def _parts_of(found: Any) -> list[Any]:
    if isinstance(found, dict):
        return [*found.keys(), *found.values()]
    if isinstance(found, list | tuple | set):
        return list(found)
    if isinstance(found, np.ndarray):
        return found.ravel().tolist() if found.dtype == object else []
    return [value for name, value in getattr(found, "__dict__", {}).items() if name != NET]


def check_contents(root: Any) -> None:
    """Check what was built from a file.

    Raises
    ------
    ValueError
        If something in it is inconsistent, or would read further files.
    """
    for found in objects_in(root):
        for kind, check in CHECKS.items():
            if isinstance(found, kind):
                check(found)
        if issparse(found):
            found.check_format(full_check=True)
        elif hasattr(found, "__dict__") and not isinstance(found, np.ndarray):
            _check_attributes(found)


def _check_attributes(found: Any) -> None:
    attributes = vars(found)
    for name in attributes:
        if callable(getattr(type(found), name, None)):  # or checks inside methods could be removed
            raise ValueError(f"a {type(found).__name__} has the method {name} replaced")
    if attributes.get("memory") is not None:
        raise ValueError("a pipeline has a cache (memory), whose files are pickles")
    if "tree_" in attributes:
        _check_width(found.tree_.n_features, found)
    if "_predictors" in attributes:
        _check_boosted(found)


def _check_tree(tree: Tree) -> None:
    # That it has the nodes and outputs that it says was seen by `_vet`, before it was built.
    nodes = tree.__getstate__()["nodes"]
    left, right = nodes["left_child"], nodes["right_child"]
    inner = left != LEAF
    _check_children(left[inner], right[inner], np.flatnonzero(inner), len(nodes))
    _check_range(nodes["feature"][inner], tree.n_features)
    if tree.max_depth != _depth(left, right):  # which `decision_path` reserves memory for
        raise ValueError("a decision tree has not the depth that it says")


def _depth(left: Any, right: Any) -> int:
    """Return the number of steps to the leaf that is furthest from the root."""
    depth, level = -1, np.zeros(1, dtype=np.int64)
    while level.size:
        depth, inner = depth + 1, level[left[level] != LEAF]
        level = np.concatenate([left[inner], right[inner]])
    return depth


def _check_predictor(predictor: TreePredictor) -> None:
    nodes = _plain(predictor.nodes)
    inner = nodes["is_leaf"] == 0
    _check_children(nodes["left"][inner], nodes["right"][inner], np.flatnonzero(inner), len(nodes))
    if nodes["is_categorical"].any():
        raise ValueError("boosted trees with categorical features are not stored")


def _check_children(left: Any, right: Any, parent: Any, n_nodes: int) -> None:
    """Children come after their one parent: so walks end, and within the tree."""
    for child in (left.astype(np.int64), right.astype(np.int64)):
        if not n_nodes or (child <= parent).any() or (child >= n_nodes).any():
            raise ValueError("a decision tree has branches that lead nowhere")
    parents = np.bincount(np.concatenate([left, right]).astype(np.int64), minlength=n_nodes)
    if (parents[1:] != 1).any():
        raise ValueError("a decision tree has branches that meet, or nodes outside of it")


def _check_range(feature: Any, n_features: int) -> None:
    if (feature < 0).any() or (feature >= n_features).any():
        raise ValueError("a decision tree asks for features that do not exist")


def _plain(array: Any) -> Any:
    """Return an array of the basic class: a masked one would hide values from the checks."""
    if type(array) is not np.ndarray:
        raise ValueError(f"there is a {type(array).__name__} in the place of an array")
    return array


def _check_width(n_features: int, owner: Any) -> None:
    """Compare what trees need with what scikit-learn will ask of the data."""
    if type(owner.n_features_in_) is not int or n_features != owner.n_features_in_:
        raise ValueError(
            f"{type(owner).__name__} is for {owner.n_features_in_} features, its trees are for "
            f"{n_features}"
        )


def _check_gradient_boosting(regressor: GradientBoostingRegressor) -> None:
    """Check the trees of a regressor whose `predict` goes straight to them."""
    trees = _plain(getattr(regressor, "estimators_", np.empty((0, 1))))
    if trees.size and (trees.shape[1:] != (1,) or regressor.n_trees_per_iteration_ != 1):
        raise ValueError("GradientBoostingRegressor has more than one tree in a stage")
    for tree in trees.ravel():
        _check_width(tree.tree_.n_features, regressor)


def _check_boosted(regressor: Any) -> None:
    """Check the trees of HistGradientBoostingRegressor, which know no number of features."""
    _check_width(regressor._n_features, regressor)
    if regressor._preprocessor is not None or _plain(regressor._bin_mapper.is_categorical_).any():
        raise ValueError("boosted trees with categorical features are not stored")
    if getattr(regressor, "_in_fit", False):  # when the data are not checked
        raise ValueError("HistGradientBoostingRegressor is in training")
    for predictor in (tree for stage in regressor._predictors for tree in stage):
        inner = predictor.nodes["is_leaf"] == 0
        feature = predictor.nodes["feature_idx"][inner].astype(np.int64)
        _check_range(feature, regressor.n_features_in_)


def _check_random_state(rng: np.random.RandomState) -> None:
    if not 0 <= rng.get_state(legacy=False)["state"]["pos"] <= LARGEST_POSITION:
        raise ValueError("a random state points outside of its numbers")


def _check_generator(rng: np.random.Generator) -> None:
    if not isinstance(rng.bit_generator, np.random.PCG64):
        raise ValueError("a random generator is not of the usual kind, PCG64")


CHECKS: dict[type, Callable[[Any], None]] = {
    Tree: _check_tree,
    TreePredictor: _check_predictor,
    GradientBoostingRegressor: _check_gradient_boosting,
    np.random.RandomState: _check_random_state,
    np.random.Generator: _check_generator,
}
