"""What a trained network looks at: saliency of the pixels, and feature maps between its modules."""

from skestnet.inspection._feature_maps import FeatureMaps, feature_maps
from skestnet.inspection._saliency import saliency

__all__ = ["FeatureMaps", "feature_maps", "saliency"]
