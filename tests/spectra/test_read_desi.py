"""DESI files: three cameras on one grid."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra._read import SpectrumReadError, read_spectra


def plain_join(hdus):
    """Join cameras pixel by pixel, as the documentation says it."""
    cameras = [hdu.name[0] for hdu in hdus if hdu.name.endswith("_WAVELENGTH")]
    n_targets = len(hdus["FIBERMAP"].data)
    pixels = {}
    for camera in cameras:
        images = [hdus[f"{camera}_{kind}"].data for kind in ("WAVELENGTH", "FLUX", "IVAR", "MASK")]
        for j, wavelength in enumerate(images[0]):
            key = round(wavelength / 0.8)
            seen = [tuple(float(image[i, j]) for image in images[1:]) for i in range(n_targets)]
            pixels.setdefault(key, []).append((wavelength, seen))
    wavelength = np.array([pixels[key][0][0] for key in sorted(pixels)])
    flux, ivar, flags = np.zeros((3, n_targets, len(pixels)))
    for j, key in enumerate(sorted(pixels)):
        for i in range(n_targets):
            seen = [one[i] for _, one in pixels[key]]
            weights = [weight if mask == 0 else 0.0 for _, weight, mask in seen]
            ivar[i, j] = sum(weights)
            shares = (
                [w / ivar[i, j] for w in weights] if ivar[i, j] else [1 / len(seen)] * len(seen)
            )
            flux[i, j] = sum(share * f for share, (f, _, _) in zip(shares, seen, strict=True))
            common = int(seen[0][2])
            for _, _, mask in seen[1:]:
                common &= int(mask)
            flags[i, j] = common
    return wavelength, flux, ivar, flags


def read(hdus, path):
    hdus.writeto(path, overwrite=True)
    return read_spectra(path)


def test_joined_like_a_loop_over_pixels(tmp_path, desi_file):
    hdus = desi_file()
    spectra = read(hdus, tmp_path / "x.fits")
    wavelength, flux, ivar, flags = plain_join(hdus)
    assert len(spectra) == 3
    for i in range(3):
        assert_array_equal(spectra.wavelength[i], wavelength)
        assert_allclose(spectra.flux[i], flux[i], rtol=1e-6)
        assert_allclose(spectra.ivar[i], ivar[i], rtol=1e-6)
        assert_array_equal(spectra.and_mask[i], flags[i])
        assert_array_equal(spectra.mask[i], ivar[i] == 0)
    assert (np.concatenate(spectra.and_mask) != 0).any()


def test_pixels_of_one_camera_are_copied_exactly(tmp_path, desi_file):
    hdus = desi_file()
    spectra = read(hdus, tmp_path / "x.fits")
    alone = {"B": slice(0, 15), "R": slice(20, 30), "Z": slice(35, 50)}
    first = {"B": 0, "R": 15, "Z": 30}
    for camera, at in alone.items():
        own = slice(at.start - first[camera], at.stop - first[camera])
        good = hdus[f"{camera}_MASK"].data[:, own] == 0
        ivar = hdus[f"{camera}_IVAR"].data[:, own]
        assert_array_equal(np.array(spectra.flux)[:, at], hdus[f"{camera}_FLUX"].data[:, own])
        assert_array_equal(np.array(spectra.ivar)[:, at], np.where(good, ivar, 0))


def test_meta(tmp_path, desi_file):
    spectra = read(desi_file(), tmp_path / "x.fits")
    assert spectra.meta["layout"].tolist() == ["DESI spectra"] * 3
    assert spectra.meta["obsid"][2] == "39627848784286651"
    assert_array_equal(spectra.meta["ra"], [10, 11, 12])
    assert_array_equal(spectra.meta["dec"], [-5, -4, -3])
    row = spectra[0]
    good = ~row.mask[0] & (abs(row.wavelength[0] - 6261) < 1382 / 2)
    ratio = np.median((row.flux[0] * np.sqrt(row.ivar[0]))[good])
    assert_allclose(row.meta["snr_r"], ratio, rtol=1e-6)
    assert np.isnan(row.meta["snr_u"])


def test_cameras_that_are_joined_already(tmp_path, desi_file):
    hdus = desi_file(cameras={"BRZ": (0, 50)})
    hdus["BRZ_MASK"].data[:] = 0
    spectra = read(hdus, tmp_path / "x.fits")
    assert_array_equal(spectra.flux, hdus["BRZ_FLUX"].data)
    assert_array_equal(spectra.ivar, hdus["BRZ_IVAR"].data)


def test_the_order_of_the_cameras_does_not_matter(tmp_path, desi_file):
    hdus = desi_file()
    spectra = read(hdus, tmp_path / "x.fits")
    turned = read(fits.HDUList([*hdus[:2], *hdus[:1:-1]]), tmp_path / "y.fits")
    assert_array_equal(turned.wavelength, spectra.wavelength)
    assert_array_equal(turned.flux, spectra.flux)


def test_a_value_that_is_not_finite_has_no_weight(tmp_path, desi_file):
    hdus = desi_file()
    hdus["B_MASK"].data[:] = hdus["R_MASK"].data[:] = 0
    hdus["B_IVAR"].data[:] = hdus["R_IVAR"].data[:] = 2
    hdus["B_FLUX"].data[0, 16] = np.nan  # the second pixel of R
    spectra = read(hdus, tmp_path / "x.fits")
    assert spectra.flux[0][16] == hdus["R_FLUX"].data[0, 1]
    assert spectra.ivar[0][16] == 2
    assert spectra.ivar[0][17] == 4


def shifted(hdus):
    hdus["R_WAVELENGTH"].data += 0.3


def repeated(hdus):
    hdus["R_WAVELENGTH"].data[3] = hdus["R_WAVELENGTH"].data[2] * (1 + 1e-8)


def far_away(hdus):
    hdus["B_WAVELENGTH"].data[-1] += 100


def without_ivar(hdus):
    del hdus["R_IVAR"]


def without_mask(hdus):
    del hdus["Z_MASK"]


def without_camera(hdus):
    for kind in ("WAVELENGTH", "FLUX", "IVAR", "MASK"):
        del hdus[f"Z_{kind}"]


def fewer_targets(hdus):
    hdus["FIBERMAP"].data = hdus["FIBERMAP"].data[:2]


def cut(hdus):
    hdus["Z_FLUX"].data = hdus["Z_FLUX"].data[:, :-1]


BREACHES = {
    shifted: "pixels lie .* do not share one wavelength grid",
    repeated: "pixels lie",
    far_away: "pixels lie",
    without_ivar: "R_IVAR",
    without_mask: "Z_MASK",
    without_camera: r"has the cameras \['B', 'R'\], but B, R and Z, or BRZ",
    fewer_targets: r"images have shapes .* but \(2, 20\) is needed",
    cut: r"images have shapes .* but \(3, 20\) is needed",
}


@pytest.mark.parametrize("damage", BREACHES)
def test_content_that_breaks_the_layout(tmp_path, desi_file, damage):
    hdus = desi_file()
    damage(hdus)
    hdus.writeto(tmp_path / "x.fits")
    with pytest.raises(SpectrumReadError, match=rf"x\.fits looks like a DESI.*{BREACHES[damage]}"):
        read_spectra(tmp_path / "x.fits")


def test_no_targets(tmp_path, desi_file):
    desi_file(n_targets=0).writeto(tmp_path / "x.fits")
    with pytest.raises(SpectrumReadError, match=r"x\.fits .*(no spectra|cannot be read)"):
        read_spectra(tmp_path / "x.fits")


def test_real_file(data_dir):
    path = next((data_dir / "fits").glob("desi-coadd*"))
    spectra = read_spectra(path)
    with warnings.catch_warnings(), fits.open(path, memmap=False) as hdus:
        warnings.simplefilter("ignore")
        wavelength, flux, ivar, flags = plain_join(hdus)
        targets = hdus["FIBERMAP"].data
        blue, red = hdus["B_FLUX"].data, hdus["Z_FLUX"].data
    assert_array_equal(spectra.meta["obsid"], targets["TARGETID"].astype(str))
    assert_array_equal(spectra.meta["ra"], targets["TARGET_RA"])
    assert_array_equal(np.array(spectra.flux)[:, :2700], blue[:, :2700])
    assert_array_equal(np.array(spectra.flux)[:, -2755:], red[:, -2755:])
    for i in range(len(targets)):
        assert_array_equal(spectra.wavelength[i], wavelength)
        assert_allclose(spectra.flux[i], flux[i], rtol=1e-5, atol=1e-6)
        assert_allclose(spectra.ivar[i], ivar[i], rtol=1e-6)
        assert_array_equal(spectra.and_mask[i], flags[i])
