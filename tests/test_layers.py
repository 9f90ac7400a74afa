"""The dependency rules between the parts of the package, read from its import statements."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skestnet

PACKAGE = Path(skestnet.__file__).parent
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TORCH_FREE = (
    "spectra/",
    "templates/",
    "datasets/",
    "_augment.py",
    "metrics/",
    "plotting/",
    "_adapters.py",
    "_bias_scores.py",
    "_calibrated.py",
    "_multi_quantile.py",
    "_noise.py",
    "_out_of_domain.py",
    "_density.py",
    "_predict_dist.py",
    "_weight_regressor.py",
    "_weighter.py",
    "_weights.py",
    "_labels.py",
    "_distribution.py",
    "_quantiles.py",
    "_region.py",
    "_rows.py",
    "_saving/_allowed.py",
    "_saving/_container.py",
    "_saving/_contents.py",
    "_saving/_vet.py",
    "_survey/",
    "_unwrap.py",
)
WITH_TORCH = {"torch", "skorch", "skestnet.nn", "skestnet._training", "skestnet._network"}
WITH_TORCH |= {"skestnet._estnet", "skestnet._mlp", "skestnet._saving._networks"}
WITH_TORCH |= {"skestnet._batches", "skestnet._callbacks", "skestnet._training_state"}
WITH_TORCH |= {"skestnet._saving._load", "skestnet._saving._save", "skestnet._saving._checkpoint"}


def imports(tree):
    """Yield what a file imports, as (dotted name, whether at import time)."""
    in_functions = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # "from skestnet import _x" reaches skestnet._x.
            assert node.level == 0, "relative import: imports are written in full"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            yield name, id(node) not in in_functions


def imported(file, at_import_time_only=False):
    found = imports(ast.parse(FILES[file].read_text(encoding="utf-8")))
    return {name for name, top in found if top or not at_import_time_only}


def breaches(names, forbidden):
    return {
        name for name in names for root in forbidden if name == root or name.startswith(root + ".")
    }


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("nn/")])
def test_the_network_knows_torch_alone(file):
    outside = {"sklearn", "skorch", "numpy", "scipy", "astropy", "pandas", "tqdm"}
    names = imported(file)
    assert breaches(names, outside) == set()
    own = {name for name in names if name.split(".")[0] == "skestnet"}
    assert breaches(own, {"skestnet.nn"}) == own


def test_two_files_import_skorch():
    files = [file for file in FILES if breaches(imported(file), {"skorch"})]
    assert files == ["_callbacks.py", "_training.py"]


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith(TORCH_FREE)])
def test_no_torch_in_the_numpy_layer(file):
    assert breaches(imported(file), WITH_TORCH) == set()


def test_one_figure_asks_the_networks_when_it_is_drawn():
    numpy_layer = [file for file in FILES if file.startswith(TORCH_FREE)]
    asking = {file: breaches(imported(file), {"skestnet.inspection"}) for file in numpy_layer}
    assert [file for file in asking if asking[file]] == ["plotting/_saliency.py"]
    at_import_time = imported("plotting/_saliency.py", at_import_time_only=True)
    assert breaches(at_import_time, {"skestnet.inspection"}) == set()


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("spectra/")])
def test_spectra_know_no_templates(file):
    assert breaches(imported(file), {"skestnet.templates", "skestnet.datasets"}) == set()


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("templates/")])
def test_templates_know_no_data_sets(file):
    assert breaches(imported(file), {"skestnet.datasets"}) == set()


@pytest.mark.parametrize("file", FILES)
def test_optional_dependencies_are_imported_inside_functions(file):
    optional = {"matplotlib", "pandas", "lightgbm", "pyarrow", "xgboost", "catboost", "ngboost"}
    optional |= {"specutils", "dust_extinction", "cleanlab", "crepes", "scoringrules", "mapie"}
    optional |= {"skops", "safetensors"}
    assert breaches(imported(file, at_import_time_only=True), optional) == set()


@pytest.mark.parametrize("file", FILES)
def test_no_star_imports(file):
    assert not any(name.endswith(".*") for name in imported(file))


def test_rules_find_a_breach():
    source = "import torch.nn as nn\nfrom skestnet import _training\ndef f():\n import matplotlib\n"
    found = dict(imports(ast.parse(source)))
    assert found == {
        "torch.nn": True,
        "skestnet": True,
        "skestnet._training": True,
        "matplotlib": False,
    }
    assert breaches(found, WITH_TORCH) == {"torch.nn", "skestnet._training"}
    assert {"_training.py", "_weights.py", "_rows.py", "nn/_blocks.py"} <= set(FILES)


def test_importing_the_package_is_light():
    # (skorch itself imports pandas)
    optional = ["matplotlib", "lightgbm", "IPython", "skops", "safetensors"]
    code = f"import sys, skestnet; print([name for name in {optional} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
