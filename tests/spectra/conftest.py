"""Fixtures of the tests of spectra: tiny files of every layout."""

import numpy as np
import pytest
from astropy.io import fits

N_PIXELS = 40


@pytest.fixture(scope="session")
def columns():
    """The content of one small spectrum, in the precision of the surveys."""
    rng = np.random.default_rng(0)
    ivar = rng.uniform(1, 2, N_PIXELS)
    ivar[:3] = 0
    return {
        "flux": rng.normal(10, 1, N_PIXELS).astype("f4"),
        "ivar": ivar.astype("f4"),
        "loglam": (3.5682 + 1e-4 * np.arange(N_PIXELS)).astype("f4"),
        "wavelength": 10 ** (3.5682 + 1e-4 * np.arange(N_PIXELS)),
        "and_mask": np.arange(N_PIXELS) % 7,
    }


def lamost_header(*, dr1=False):
    header = fits.Header()
    header.update(TELESCOP="LAMOST", COEFF0=3.5682, COEFF1=1e-4, RA=10.5, DEC=-3)
    header["DESIG"] = "LAMOST J0"  # codespell:ignore desig
    header.update(LMJD=55862, PLANID="B6212", SPID=6, FIBERID=3, Z=-9999.0)
    bands = {f"{'SN_' if dr1 else 'SNR'}{band}": 1.5 + i for i, band in enumerate("UGRI")}
    header.update(bands)
    if not dr1:
        header["OBSID"] = 101001
    return header


def lamost_image(columns, *, dr1=False):
    third = columns["flux"] / 10 if dr1 else columns["wavelength"]
    zero = np.zeros(N_PIXELS)
    rows = [columns["flux"], columns["ivar"], third, columns["and_mask"], zero]
    return fits.HDUList([fits.PrimaryHDU(np.array(rows, dtype=">f4"), lamost_header(dr1=dr1))])


def lamost_table(columns):
    names = {"FLUX": "flux", "IVAR": "ivar", "WAVELENGTH": "wavelength", "ANDMASK": "and_mask"}
    form = f"{N_PIXELS}E"
    vectors = [fits.Column(n, form, array=[columns[c]]) for n, c in names.items()]
    table = fits.BinTableHDU.from_columns(vectors, name="COADD")
    return fits.HDUList([fits.PrimaryHDU(header=lamost_header()), table])


def sdss(columns, *, upper=False):
    primary = fits.PrimaryHDU()
    primary.header.update(PLATEID=445, MJD=55539, FIBERID=69, PLUG_RA=126.5, PLUG_DEC=28.4, RA=1.0)
    results = [
        fits.Column("Z", "E", array=[0.25]),
        fits.Column("SN_MEDIAN", "5E", array=[[1.0, 2, 3, 4, 5]]),
    ]
    spall = fits.BinTableHDU.from_columns(results, name="SPALL")
    return fits.HDUList([primary, sdss_coadd(columns, upper=upper), spall])


def sdss_coadd(columns, *, upper):
    forms = {"flux": "E", "loglam": "E", "ivar": "E", "and_mask": "J"}
    case = str.upper if upper else str
    pixels = [fits.Column(case(name), form, array=columns[name]) for name, form in forms.items()]
    return fits.BinTableHDU.from_columns(pixels, name="COADD")


def sdss5(columns):
    """SDSS-V: fields instead of plates, catalogue numbers instead of fibres."""
    primary = fits.PrimaryHDU()
    primary.header.update(TELESCOP="SDSS 2.5-M", VERS2D="v6_1_3", MJD=59630, RA=1.0, DEC=2.0)
    results = [
        fits.Column("FIELD", "K", array=[15143]),
        fits.Column("MJD", "K", array=[59630]),
        fits.Column("CATALOGID", "K", array=[27021597842679140]),
        fits.Column("RACAT", "D", array=[126.5]),
        fits.Column("DECCAT", "D", array=[28.4]),
        fits.Column("Z", "E", array=[0.25]),
        fits.Column("SN_MEDIAN", "5E", array=[[1.0, 2, 3, 4, 5]]),
    ]
    fits_of_z = [fits.Column("Z", "E", array=[0.25, 0.5])]
    return fits.HDUList(
        [
            primary,
            sdss_coadd(columns, upper=True),
            fits.BinTableHDU.from_columns(results, name="SPALL"),
            fits.BinTableHDU.from_columns(fits_of_z, name="ZALL"),
        ]
    )


DESI_CAMERAS = {"B": (0, 20), "R": (15, 35), "Z": (30, 50)}


def desi(*, n_targets=3, cameras=DESI_CAMERAS, seed=0):
    """Make a coadd file of three cameras that overlap by five pixels, with rounding errors."""
    rng = np.random.default_rng(seed)
    targets = [
        fits.Column("TARGETID", "K", array=39627848784286649 + np.arange(n_targets)),
        fits.Column("TARGET_RA", "D", array=10.0 + np.arange(n_targets)),
        fits.Column("TARGET_DEC", "D", array=-5.0 + np.arange(n_targets)),
    ]
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU.from_columns(targets, name="FIBERMAP")]
    for name, (start, stop) in cameras.items():
        shape = (n_targets, stop - start)
        wavelength = 5700.0 + 0.8 * np.arange(start, stop) + rng.uniform(-1e-10, 1e-10, shape[1])
        images = {
            "WAVELENGTH": wavelength,
            "FLUX": rng.normal(10, 1, shape).astype("f4"),
            "IVAR": (rng.uniform(1, 2, shape) * (rng.uniform(size=shape) > 0.1)).astype("f4"),
            "MASK": rng.choice([0, 0, 0, 0, 1, 6], shape).astype("i4"),
        }
        hdus += [fits.ImageHDU(image, name=f"{name}_{kind}") for kind, image in images.items()]
    return fits.HDUList(hdus)


def fits_table(columns, *, vectors=False):
    """Make a plain table: a row per pixel, or one row of vectors."""
    forms = {"WAVE": "D", "FLUX": "E", "IVAR": "E", "AND_MASK": "J"}
    arrays = [columns[name] for name in ("wavelength", "flux", "ivar", "and_mask")]
    parts = [
        fits.Column(name, f"{N_PIXELS}{form}", array=[array])
        if vectors
        else fits.Column(name, form, array=array)
        for (name, form), array in zip(forms.items(), arrays, strict=True)
    ]
    return fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(parts)])


def all_layouts(columns):
    """Return one small file of every FITS layout."""
    return {
        "lamost-image": lamost_image(columns),
        "lamost-dr1": lamost_image(columns, dr1=True),
        "lamost-table": lamost_table(columns),
        "sdss": sdss(columns),
        "sdss-upper": sdss(columns, upper=True),
        "sdss-5": sdss5(columns),
        "desi": desi(),
        "fits-pixels": fits_table(columns),
        "fits-vectors": fits_table(columns, vectors=True),
    }


SINGLE = ["lamost-image", "lamost-dr1", "lamost-table", "sdss", "sdss-upper", "sdss-5"]
TABLES = ["fits-pixels", "fits-vectors"]


@pytest.fixture(params=SINGLE)
def survey_file(request, columns):
    """Name and content of one file of each layout of one spectrum."""
    return request.param, all_layouts(columns)[request.param]


@pytest.fixture(params=[*SINGLE, *TABLES, "desi"])
def any_file(request, columns):
    """Name and content of one file of every FITS layout."""
    return request.param, all_layouts(columns)[request.param]


@pytest.fixture(params=SINGLE[:3])
def lamost_path(request, columns, tmp_path):
    """Path of one file of each layout of LAMOST."""
    all_layouts(columns)[request.param].writeto(tmp_path / "lamost.fits")
    return tmp_path / "lamost.fits"


@pytest.fixture
def desi_file():
    """Make a small DESI file."""
    return desi


@pytest.fixture(scope="session")
def table_file(columns):
    """Make a plain FITS table."""
    return lambda **options: fits_table(columns, **options)
