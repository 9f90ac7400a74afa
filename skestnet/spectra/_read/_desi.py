"""DESI: coadd and spectra files, whose cameras are joined onto one wavelength grid."""

from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skestnet.spectra._read._record import Record, band_snr, make_meta, make_record
from skestnet.spectra._wavelength import as_wavelength

# Cameras write the same grid with rounding errors of 1e-13; its pixels are 1e-4 wide.
_SAME_PIXEL = 1e-6
_IMAGES = ("WAVELENGTH", "FLUX", "IVAR", "MASK")
_COLUMNS = {"obsid": "TARGETID", "ra": "TARGET_RA", "dec": "TARGET_DEC"}


class _Camera(NamedTuple):
    """What one camera saw of all targets; `at` are its pixels on the common grid."""

    wavelength: NDArray[Any]
    flux: NDArray[Any]
    ivar: NDArray[Any]
    flags: NDArray[Any]
    at: NDArray[np.intp]


def is_desi(hdus: fits.HDUList) -> bool:
    """Say whether a file has a FIBERMAP and the images of at least one camera."""
    return "FIBERMAP" in hdus and bool(_camera_names(hdus))


def _camera_names(hdus: fits.HDUList) -> list[str]:
    """Return the prefixes of the images: b, r and z, or brz for cameras joined already."""
    parts = [hdu.name.rpartition("_") for hdu in hdus]
    return sorted({camera for camera, _, kind in parts if camera and kind in _IMAGES})


def read_desi(hdus: fits.HDUList) -> list[Record]:
    """Return one spectrum per row of FIBERMAP."""
    names = _camera_names(hdus)
    if "".join(names) != "BRZ":
        raise ValueError(f"it has the cameras {names}, but B, R and Z, or BRZ, are needed.")
    cameras = _placed([_camera(hdus, name) for name in names])
    targets = hdus["FIBERMAP"].data
    known = {key: targets[column] for key, column in _COLUMNS.items() if column in targets.names}
    _check_shapes(cameras, len(targets))
    wavelength, flux, ivar, flags = _join(cameras)
    return [
        make_record(
            wavelength=wavelength,
            flux=flux[i],
            ivar=ivar[i],
            and_mask=flags[i],
            meta=make_meta(
                **{key: column[i] for key, column in known.items()},
                snr=band_snr(wavelength, flux[i], ivar[i]),
            ),
        )
        for i in range(len(targets))
    ]


def _camera(hdus: fits.HDUList, name: str) -> _Camera:
    wavelength, flux, ivar, flags = (hdus[f"{name}_{kind}"].data for kind in _IMAGES)
    at = np.arange(len(wavelength))
    return _Camera(as_wavelength(wavelength, f"{name}_WAVELENGTH"), flux, ivar, flags, at)


def _placed(cameras: list[_Camera]) -> list[_Camera]:
    """Return the cameras with `at` filled: wavelengths that agree are one pixel."""
    every = np.concatenate([camera.wavelength for camera in cameras])
    order = np.argsort(every, kind="stable")
    steps = np.diff(every[order])
    is_new = steps > _SAME_PIXEL * every[order][1:]
    _check_steps(np.concatenate([steps[is_new], *(np.diff(c.wavelength) for c in cameras)]))
    at = np.empty(every.size, dtype=np.intp)
    at[order] = np.concatenate([[0], np.cumsum(is_new)])
    cuts = np.cumsum([camera.wavelength.size for camera in cameras])[:-1]
    placed = zip(cameras, np.split(at, cuts), strict=True)
    return [camera._replace(at=part) for camera, part in placed]


def _check_steps(steps: NDArray[np.float64]) -> None:
    """Refuse cameras whose pixels interleave, leave a gap, or cannot be told apart."""
    usual = np.median(steps)
    odd = steps[abs(steps - usual) > 0.1 * usual]
    if odd.size:
        raise ValueError(
            f"pixels lie {odd[0]:.3g} A apart where {usual:.3g} A is usual: its cameras do not "
            "share one wavelength grid, so they cannot be joined exactly."
        )


def _check_shapes(cameras: list[_Camera], n_targets: int) -> None:
    for camera in cameras:
        wanted = (n_targets, camera.wavelength.size)
        shapes = [image.shape for image in (camera.flux, camera.ivar, camera.flags)]
        if shapes != [wanted] * 3:
            raise ValueError(f"its images have shapes {shapes}, but {wanted} is needed.")


def _join(cameras: list[_Camera]) -> tuple[NDArray[Any], ...]:
    """Return wavelength, and flux, ivar and flags of shape (n_targets, n_pixels).

    Where cameras overlap, fluxes are averaged with weight ivar, and ivar is the sum. Masked
    pixels have no weight. A pixel without weight in any camera keeps the plain mean, so that
    what one camera alone saw is an exact copy in any case: a product of two single-precision
    numbers is exact in double precision, and so is its quotient.
    """
    shape = (len(cameras[0].flux), 1 + max(camera.at[-1] for camera in cameras))
    wavelength, count = np.zeros(shape[1]), np.zeros(shape[1])
    plain, weighted, total = np.zeros((3, *shape))
    flags = np.full(shape, -1, dtype=np.int64)
    for camera in reversed(cameras):  # so that the first one's wavelengths stay
        weight = _weight(camera)
        wavelength[camera.at] = camera.wavelength
        count[camera.at] += 1
        plain[:, camera.at] += camera.flux
        weighted[:, camera.at] += np.where(weight > 0, camera.flux, 0.0) * weight
        total[:, camera.at] += weight
        flags[:, camera.at] &= camera.flags.astype(np.int64)
    mean = np.divide(weighted, total, out=plain / count, where=total > 0)
    return wavelength, mean.astype(np.float32), total, flags


def _weight(camera: _Camera) -> NDArray[np.float64]:
    """Return the inverse variance, zero where a pixel is masked or says nothing."""
    good = (camera.flags == 0) & np.isfinite(camera.flux) & np.isfinite(camera.ivar)
    return np.where(good & (camera.ivar > 0), camera.ivar, 0.0).astype(np.float64)
