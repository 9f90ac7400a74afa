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
    forms = {"flux": "E", "loglam": "E", "ivar": "E", "and_mask": "J"}
    case = str.upper if upper else str
    pixels = [fits.Column(case(name), form, array=columns[name]) for name, form in forms.items()]
    primary = fits.PrimaryHDU()
    primary.header.update(PLATEID=445, MJD=55539, FIBERID=69, PLUG_RA=126.5, PLUG_DEC=28.4, RA=1.0)
    results = [
        fits.Column("Z", "E", array=[0.25]),
        fits.Column("SN_MEDIAN", "5E", array=[[1.0, 2, 3, 4, 5]]),
    ]
    return fits.HDUList(
        [
            primary,
            fits.BinTableHDU.from_columns(pixels, name="COADD"),
            fits.BinTableHDU.from_columns(results, name="SPALL"),
        ]
    )


@pytest.fixture(
    params=["lamost-image", "lamost-dr1", "lamost-table", "sdss", "sdss-upper"], scope="session"
)
def survey_file(request, columns):
    """Name and content of one file of each layout."""
    make = {
        "lamost-image": lamost_image(columns),
        "lamost-dr1": lamost_image(columns, dr1=True),
        "lamost-table": lamost_table(columns),
        "sdss": sdss(columns),
        "sdss-upper": sdss(columns, upper=True),
    }
    return request.param, make[request.param]
