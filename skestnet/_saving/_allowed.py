"""What a saved estimator may consist of. Nothing else is stored, and `load` builds nothing else.

Left out on purpose are functions (but for some that only compute), classifiers, and estimators
whose compiled code would follow indices from the file without a check: support vector machines,
neighbour trees, splines.
"""

from __future__ import annotations

import importlib
from functools import cache

PUBLIC = {
    "sklearn.pipeline": "FeatureUnion Pipeline",
    "sklearn.compose": "ColumnTransformer TransformedTargetRegressor",
    "sklearn.frozen": "FrozenEstimator",
    "sklearn.model_selection": "GridSearchCV GroupKFold GroupShuffleSplit KFold LeaveOneGroupOut "
    "RandomizedSearchCV ShuffleSplit TimeSeriesSplit",
    "sklearn.preprocessing": "Binarizer FunctionTransformer MaxAbsScaler MinMaxScaler Normalizer "
    "PolynomialFeatures PowerTransformer QuantileTransformer RobustScaler StandardScaler",
    "sklearn.impute": "SimpleImputer",
    "sklearn.feature_selection": "SelectFromModel VarianceThreshold",
    "sklearn.decomposition": "FactorAnalysis FastICA IncrementalPCA KernelPCA PCA TruncatedSVD",
    "sklearn.random_projection": "GaussianRandomProjection",
    "sklearn.kernel_approximation": "Nystroem RBFSampler",
    "sklearn.cross_decomposition": "CCA PLSCanonical PLSRegression",
    "sklearn.covariance": "EmpiricalCovariance LedoitWolf MinCovDet OAS",
    "sklearn.mixture": "GaussianMixture",
    "sklearn.dummy": "DummyRegressor",
    "sklearn.linear_model": "ARDRegression BayesianRidge ElasticNet ElasticNetCV GammaRegressor "
    "HuberRegressor Lars LarsCV Lasso LassoCV LassoLars LassoLarsCV LassoLarsIC LinearRegression "
    "MultiTaskElasticNet MultiTaskElasticNetCV MultiTaskLasso MultiTaskLassoCV "
    "OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV PoissonRegressor QuantileRegressor "
    "RANSACRegressor Ridge RidgeCV SGDRegressor TheilSenRegressor TweedieRegressor",
    "sklearn.kernel_ridge": "KernelRidge",
    "sklearn.isotonic": "IsotonicRegression",
    "sklearn.neural_network": "MLPRegressor",
    "sklearn.tree": "DecisionTreeRegressor ExtraTreeRegressor",
    "sklearn.ensemble": "AdaBoostRegressor BaggingRegressor ExtraTreesRegressor "
    "GradientBoostingRegressor HistGradientBoostingRegressor RandomForestRegressor "
    "StackingRegressor VotingRegressor",
    "sklearn.multioutput": "MultiOutputRegressor RegressorChain",
    "sklearn.gaussian_process": "GaussianProcessRegressor",
    "sklearn.gaussian_process.kernels": "CompoundKernel ConstantKernel DotProduct ExpSineSquared "
    "Exponentiation Hyperparameter Matern Product RBF RationalQuadratic Sum WhiteKernel",
    "skestnet": "AdaptiveMLPRegressor AdaptiveWeightRegressor AdaptiveWeighter "
    "CalibratedRegressor EstNetRegressor MultiQuantileRegressor OutOfDomainDetector",
    "skestnet.spectra": "AddedNoise ContinuumNormalizer CosmicRayClipper FluxScaler "
    "MaskedPixelImputer Resampler",
    "skestnet.templates": "Exponential NoisePatterns Normal SpectrumDegrader",
}
PRIVATE = {
    "crepes.base.ConformalPredictiveSystem",
    "skestnet.metrics._scorers._CoverageScorer",
    "skestnet.spectra._spline.BinnedSpline",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogLink",
    "sklearn._loss.loss.AbsoluteError",
    "sklearn._loss.loss.HalfGammaLoss",
    "sklearn._loss.loss.HalfPoissonLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn._loss.loss.HuberLoss",
    "sklearn._loss.loss.PinballLoss",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
}
LOSSES = (
    "CyAbsoluteError CyHalfGammaLoss CyHalfPoissonLoss CyHalfSquaredError CyHuberLoss CyPinballLoss"
)
TUPLES = {
    "builtins.tuple",
    "skestnet._calibrated._Bin",
    "skestnet._weighter._Known",
    "skestnet._weights._Samples",
}
SCALARS = (
    "bool bool_ float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 str_"
)
NUMPY_FUNCTIONS = (
    "abs absolute arcsinh arctan cbrt clip cos exp exp2 expm1 fabs log log10 log1p log2 nan_to_num "
    "negative positive reciprocal sign sin sinh sqrt square tan tanh"
)
SCIPY_FUNCTIONS = "exp10 expit logit"
METRICS = (
    "explained_variance_score max_error mean_absolute_error mean_absolute_percentage_error "
    "mean_pinball_loss mean_squared_error median_absolute_error r2_score root_mean_squared_error"
)


@cache
def allowed_types() -> dict[str, frozenset[str]]:
    """Return for each kind of node that skops knows the types that it may have.

    Kinds that are not here are refused: methods, partial functions, operators, calls of types.
    """
    scalars = {f"numpy.{name}" for name in SCALARS.split()}
    optimizers = _types_in("torch.optim", "Adam AdamW NAdam RAdam RMSprop SGD")
    objects = PRIVATE.union(*(_types_in(module, names) for module, names in PUBLIC.items()))
    allowed = {
        "JsonNode": {"builtins.str"},
        "ListNode": {"builtins.list"},
        "TupleNode": TUPLES | _types_in("sklearn.gaussian_process.kernels", "Hyperparameter"),
        "SetNode": {"builtins.set"},
        "SliceNode": {"builtins.slice"},
        "DictNode": {"builtins.dict", "sklearn.utils._bunch.Bunch"},
        "NdArrayNode": {"numpy.ndarray"} | scalars,
        "MaskedArrayNode": {"numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"},
        "SparseMatrixNode": {"scipy.sparse._csr.csr_array", "scipy.sparse._csr.csr_matrix"},
        "DTypeNode": {"numpy.dtype"},
        "RandomStateNode": {"numpy.random.mtrand.RandomState"},
        "RandomGeneratorNode": {"numpy.random._generator.Generator"},
        # bool would read the text "False" as true.
        "TypeNode": {"builtins.str", "builtins.int", "builtins.float"} | scalars | optimizers,
        "FunctionNode": _functions(),
        "TreeNode": {"sklearn.tree._tree.Tree"},
        "LossNode": _types_in("sklearn._loss._loss", LOSSES),
        "ObjectNode": objects,
    }
    return {kind: frozenset(types) for kind, types in allowed.items()}


def _types_in(module: str, names: str) -> set[str]:
    """Return where the classes that a module exports are defined, as skops writes it."""
    exported = importlib.import_module(module)
    classes = [getattr(exported, name) for name in names.split()]
    return {f"{cls.__module__}.{cls.__name__}" for cls in classes}


def _functions() -> set[str]:
    special = ("scipy.special", "scipy.special._ufuncs", "scipy.special._special_ufuncs")
    return {
        "skestnet.metrics._scorers.crps_scorer",
        *(f"numpy.{name}" for name in NUMPY_FUNCTIONS.split()),
        *(f"{module}.{name}" for module in special for name in SCIPY_FUNCTIONS.split()),
        *(f"sklearn.metrics._regression.{name}" for name in METRICS.split()),
    }
