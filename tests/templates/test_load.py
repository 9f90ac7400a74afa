"""Files of templates, good and broken."""

import numpy as np
import pytest
from astropy import units as u
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra._medium import vacuum_from_air
from skestnet.templates._grid import TemplateGrid

HEADER = """# Koester WD models
# teff = {teff} K (value for the effective temperature for the model. Temperatures are in K)
# logg = {logg} log(cm/s2) (value for Log(G) for the model.)
#
#   WAVELENGTH\t#           FLUX\t
#   (ANGSTROM)\t#  (ERG/CM2/S/A)\t
##############\t################\t
"""


def write_text(path, teff, logg, wavelength, flux):
    rows = [f"{w:14.3f}\t{f:16.5e}\n" for w, f in zip(wavelength, flux, strict=True)]
    path.write_text(HEADER.format(teff=teff, logg=logg) + "".join(rows))
    return path


def write_npz(path, **change):
    arrays = {
        "wavelength": np.arange(4000.0, 4010),
        "teff": np.float32([8000, 9000, 8000]),
        "flux": np.arange(1, 31, dtype="f4").reshape(3, 10),
        "log_h_he": np.float32([-5, -5, -30]),
    }
    kept = {name: values for name, values in {**arrays, **change}.items() if values is not None}
    np.savez(path, **kept)
    return path


@pytest.fixture
def folder(tmp_path):
    """Four models, each with points of its own, and a README."""
    rng = np.random.default_rng(0)
    for teff in (8000, 9000):
        for logg in (7.5, 8):
            wavelength = np.concatenate([[4000], np.sort(rng.uniform(4001, 4999, 40)), [5000]])
            flux = teff * wavelength + logg
            name = f"da{teff:05d}_{int(100 * logg)}.dk.dat.txt"
            write_text(tmp_path / name, teff, f"{logg:g}", wavelength, flux)
    (tmp_path / "README").write_text("files downloaded\n")
    return tmp_path


def test_npz(tmp_path):
    grid = TemplateGrid.read(write_npz(tmp_path / "grid.npz"), interpolation="linear")
    assert grid.label_names == ("teff", "log_h_he")
    assert_array_equal(grid.labels, [[8000, -5], [9000, -5], [8000, -30]])
    assert_array_equal(grid.flux, np.arange(1, 31).reshape(3, 10))
    assert (grid.flux.dtype, grid.interpolation) == (np.float32, "linear")


def test_folder_of_text(folder):
    grid = TemplateGrid.read(folder, medium="vacuum")
    assert_array_equal(grid.labels, [[8000, 7.5], [8000, 8], [9000, 7.5], [9000, 8]])
    assert grid.wavelength.size == 2 + 4 * 40
    expected = grid.labels[:, :1] * grid.wavelength + grid.labels[:, 1:]
    assert_allclose(grid.flux, expected, rtol=2e-5)
    files = sorted(folder.glob("*.txt"))
    assert_array_equal(TemplateGrid.read(files[::-1], medium="vacuum").flux, grid.flux[::-1])
    assert len(TemplateGrid.read(str(files[0]), medium="vacuum")) == 1


def test_templates_are_as_they_are_between_their_points(folder):
    files = sorted(folder.glob("*.txt"))
    grid = TemplateGrid.read(folder, medium="vacuum")
    for file, flux in zip(files, grid.flux, strict=True):
        assert_allclose(flux, np.interp(grid.wavelength, *np.loadtxt(file).T), rtol=1e-6)


def test_air_becomes_vacuum(folder, tmp_path):
    vacuum = TemplateGrid.read(folder, medium="vacuum")
    air = TemplateGrid.read(folder, medium="air")
    assert_allclose(air.wavelength, vacuum_from_air(vacuum.wavelength), rtol=1e-12)
    npz = write_npz(tmp_path / "air.npz")
    assert TemplateGrid.read(npz, medium="air").wavelength[0] > 4001


def test_range(folder):
    full = TemplateGrid.read(folder, medium="vacuum")
    part = TemplateGrid.read(folder, medium="vacuum", wavelength_range=(4300, 4400))
    assert full.wavelength[0] < part.wavelength[0] <= 4300
    assert 4400 <= part.wavelength[-1] < full.wavelength[-1]
    inside = np.isin(full.wavelength, part.wavelength)
    assert_allclose(part.flux, full.flux[:, inside], rtol=1e-6)


def test_range_with_a_unit(folder):
    plain = TemplateGrid.read(folder, medium="vacuum", wavelength_range=(4300, 4400))
    for pair in ((430, 440) * u.nm, (430 * u.nm, 4400)):
        grid = TemplateGrid.read(folder, medium="vacuum", wavelength_range=pair)
        assert_array_equal(grid.wavelength, plain.wavelength)


def test_common_range(tmp_path):
    first = write_npz(tmp_path / "1.npz")
    second = write_npz(tmp_path / "2.npz", wavelength=np.arange(4004.5, 4014))
    grid = TemplateGrid.read([first, second])
    assert_array_equal(grid.wavelength, np.arange(4004.5, 4009.1, 0.5))
    assert_allclose(grid.flux[:3, 1::2], np.arange(1, 31).reshape(3, 10)[:, 5:])
    assert_allclose(grid.flux[3:, ::2], np.arange(1, 31).reshape(3, 10)[:, :5])


def test_order_of_labels_may_differ(tmp_path):
    write_npz(tmp_path / "1.npz")
    arrays = dict(np.load(tmp_path / "1.npz"))
    np.savez(tmp_path / "2.npz", **dict(reversed(arrays.items())))
    grid = TemplateGrid.read(tmp_path)
    assert_array_equal(grid.labels[3:], grid.labels[:3])


def test_progress(tmp_path, capsys):
    path = write_npz(tmp_path / "grid.npz")
    TemplateGrid.read(path)
    assert capsys.readouterr().err == ""
    TemplateGrid.read(path, verbose=1)
    assert "Reading templates" in capsys.readouterr().err


def test_the_medium_must_be_said(folder):
    with pytest.raises(ValueError, match=r"da08000_750.*does not say .* medium='air'"):
        TemplateGrid.read(folder)
    with pytest.raises(ValueError, match="medium='water' is not known"):
        TemplateGrid.read(folder, medium="water")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 rows of numbers and 0 labels"),
        ("4000 1\n4001 2\n", "2 rows of numbers and 0 labels, but .* such as '# teff = 10000 K'"),
        ("# teff = hot K\n4000 1\n", "1 rows of numbers and 0 labels"),
        ("# teff = 9000 K\n# logg = 8\n", "0 rows of numbers and 2 labels"),
        ("# teff = 9000 K\n# logg = 8\n4000 1 2\n4001 1 2\n", r"shape \(2, 3\), not two columns"),
        ("# teff = 9000 K\n# logg = 8\n4000 1\n4001\n", "holds no templates"),
        ("# teff = 9000 K\n# logg = 8\n4000 1\n4001 x\n", "could not convert"),
        ("# teff = 9000 K\n# logg = 8\n4000 1\n4000 2\n", "strictly increasing"),
        ("# teff = 9000 K\n# logg = 8\n4000 1\n5000 nan\n", "not finite"),
        ("# teff = 9000 K\n4000 1\n5000 2\n", r"has the labels \['teff'\], but .*da08000_750"),
        ("# teff = 9000 K\n# logg = 8\n6000 1\n7000 2\n", "starts at 6000.0 A, but .* ends at"),
    ],
)
def test_a_broken_file_is_named(folder, text, message):
    (folder / "da99999.txt").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        TemplateGrid.read(folder, medium="vacuum")
    assert "da99999.txt" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flux": None}, "but no flux"),
        ({"wavelength": None, "flux": None}, "but no wavelength and no flux"),
        ({"flux": np.ones((3, 9))}, r"wavelength has shape \(10,\) and flux \(3, 9\)"),
        ({"teff": np.ones(2)}, r"labels are \['log_h_he', 'teff'\] and \['teff'\] are of another"),
        ({"teff": None, "log_h_he": None}, r"but its labels are \[\]"),
        ({"wavelength": np.zeros(10)}, "strictly increasing"),
        ({"teff": np.array(["hot", "hot", "hot"])}, "could not convert"),
    ],
)
def test_a_broken_archive_is_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as error:
        TemplateGrid.read(write_npz(tmp_path / "grid.npz", **change))
    assert "grid.npz" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut"])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / "grid.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"grid.npz holds no templates that can be read"):
        TemplateGrid.read(tmp_path / "grid.npz")


def test_truncated_archive(tmp_path):
    path = write_npz(tmp_path / "grid.npz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"grid.npz holds no templates"):
        TemplateGrid.read(path)


def test_an_array_is_no_archive(tmp_path):
    with (tmp_path / "grid.npz").open("wb") as stream:
        np.save(stream, np.ones(3))
    with pytest.raises(ValueError, match=r"grid.npz holds no templates"):
        TemplateGrid.read(tmp_path / "grid.npz")


def test_paths(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"\*.txt does not exist"):
        TemplateGrid.read(tmp_path / "*.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no file ending in one of"):
        TemplateGrid.read(tmp_path / "empty")
    with pytest.raises(ValueError, match="no file"):
        TemplateGrid.read([])
    with pytest.raises(ValueError, match="nothing of wavelength_range"):
        TemplateGrid.read(folder, medium="vacuum", wavelength_range=(6000, 7000))
    with pytest.raises(ValueError, match=r"wavelength_range=\(7000, 6000\)"):
        TemplateGrid.read(folder, medium="vacuum", wavelength_range=(7000, 6000))


def test_model_grids(data_dir):
    grid = TemplateGrid.read(data_dir / "models_da_koester2010_svo.npz")
    assert repr(grid) == (
        "<TemplateGrid: 1066 templates, teff 5000-80000, logg 6.5-9.5, 4101 pixels, "
        "3630.8-9332.5 A>"
    )
    assert TemplateGrid.read(data_dir / "models_db_tremblay_1d.npz").label_names[2] == "log_h_he"
