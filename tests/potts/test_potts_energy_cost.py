"""What a sample costs: the naive sampler's law, two counts of one program, energy counters with known readings."""

import ctypes
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SMALL_LATTICES, empirical, exact_draws, random_params
from PIL import Image
from statistical import ALPHA, chi_square_p

from jaxgen import gibbs
from jaxgen.potts.figures.energy import energy_figure
from jaxgen.potts.oracles import enumeration
from jaxgen.potts.oracles.naive_sampler import naive_sample
from jaxgen.potts.studies.energy import joules, thermodynamic
from jaxgen.potts.studies.energy.joules import measure_joules
from jaxgen.potts.studies.energy.operations import Work, compiled_work, counted_by_hand
from jaxgen.potts.studies.energy.report import Baseline, EnergyStudy, energy_rows, published_baselines

DIGITS = gibbs.Lattice.grid(28, 28)


@pytest.mark.parametrize("name, coupling, beta", [("3x3 diagonals", "edge", 1.0), ("2x3 open", "tied", 0.4)])
def test_the_naive_sampler_has_the_law_of_the_model(name, coupling, beta):
    lattice, levels = SMALL_LATTICES[name]
    levels = min(levels, 2)
    params = random_params(3, lattice, levels, coupling, scale=1.5)
    start = exact_draws(1, lattice, params, 1500, beta)
    kept = start.copy()
    drawn = naive_sample(0, lattice, params, start, 2, beta)
    assert drawn.dtype == np.uint8 and (start == kept).all() and (drawn != start).any(axis=(1, 2)).mean() > 0.5
    p = np.asarray(enumeration.distribution(lattice, params, beta))
    assert chi_square_p(empirical(drawn, levels), p) > ALPHA


def test_the_naive_sampler_refuses_what_the_engines_refuse():
    lattice, levels = SMALL_LATTICES["2x3 open"]
    params, x = random_params(0, lattice, levels), np.zeros((1, 2, 3), np.uint8)
    with pytest.raises(ValueError, match="n_sweeps is 0; allowed: an integer, 1 or more"):
        naive_sample(0, lattice, params, x, 0)
    with pytest.raises(ValueError, match=r"params\['bias'\] has shape"):
        naive_sample(0, gibbs.Lattice.grid(2, 2), params, x, 1)


def test_the_compiler_counts_what_is_counted_by_hand():
    lattice = gibbs.Lattice.grid(6, 6)
    params = random_params(0, lattice, 2)
    work = compiled_work(lattice, params, 16)
    parts, moved = counted_by_hand(lattice, params, 16)
    assert parts == {"hash": 56, "neighbours": 20, "draw": 10, "store": 4}
    assert moved == pytest.approx(2 * 2 + 4 * (1 + 4) / 16)
    assert sum(parts.values()) == pytest.approx(work.operations, rel=0.1)
    assert moved < work.bytes < 5 * moved and work.transcendentals < 0.1


def test_the_count_by_hand_of_a_digit_model():
    nearest, _ = counted_by_hand(DIGITS, random_params(0, DIGITS, 4), 256)
    diagonals = gibbs.Lattice.grid(28, 28, "8")
    eight, _ = counted_by_hand(diagonals, random_params(0, diagonals, 4), 256)
    assert nearest == {"hash": 56, "neighbours": 92, "draw": 18, "store": 4}
    assert eight == {"hash": 112, "neighbours": 184, "draw": 18, "store": 4}
    with pytest.raises(ValueError, match="params has 4 levels, tied True; allowed: edge couplings, up to 4"):
        counted_by_hand(DIGITS, random_params(0, DIGITS, 4, "tied"), 256)


def test_rapl_counters_that_start_again_from_nought(tmp_path):
    assert joules.rapl_meter(tmp_path) is None
    for number, value in (("0", 90_000_000), ("1", 1_000_000), ("0:0", 77)):
        (tmp_path / f"intel-rapl:{number}").mkdir()
        (tmp_path / f"intel-rapl:{number}" / "energy_uj").write_text(f"{value}\n")
        (tmp_path / f"intel-rapl:{number}" / "max_energy_range_uj").write_text("100000000\n")
    meter = joules.rapl_meter(tmp_path)
    assert meter.measured and meter.source == "RAPL, 2 whole package(s)"
    calls = []

    def run(number):
        calls.append(number)
        if len(calls) == 2:  # the one that is measured; 90 -> 120 = 20 mod 100 J, and 1 -> 3 J
            (tmp_path / "intel-rapl:0" / "energy_uj").write_text("20000000\n")
            (tmp_path / "intel-rapl:1" / "energy_uj").write_text("3000000\n")

    spent = measure_joules(meter, run, 0.0)
    assert spent.joules == pytest.approx(32) and spent.calls == 1 and calls == [0, 0]


def test_a_counter_of_a_gpu_in_millijoules():
    class Nvml(ctypes.CDLL):
        def __init__(self, code=0):  # opens no library
            self.code, self.readings = code, itertools.count(5000, 250)

        def nvmlInit_v2(self):
            return 0

        def nvmlDeviceGetHandleByIndex_v2(self, index, device):
            return 0

        def nvmlDeviceGetTotalEnergyConsumption(self, device, energy):
            energy._obj.value = next(self.readings)
            return self.code

    spent = measure_joules(joules.nvml_meter(Nvml()), lambda number: None, 0.0)
    assert spent.joules == pytest.approx(0.25)
    assert joules.nvml_meter(Nvml(code=3)) is None  # a GPU older than Volta: not supported


def test_stated_power_charges_the_work_and_not_the_waiting():
    meter = joules.stated_meter(10.0)
    clock = iter([1.0, 1.5])
    spent = measure_joules(meter._replace(read=lambda: [10.0 * next(clock)]), lambda number: None, 0.0)
    assert spent.joules == pytest.approx(5.0) and not meter.measured and "10 W per core" in meter.source
    first, second = meter.read()[0], meter.read()[0]
    assert 0 <= second - first < 1.0


def test_the_projection_of_fifty_sweeps_of_a_digit():
    spice = thermodynamic.project(DIGITS, 4, 50)
    assert spice == pytest.approx((0.834e-9, 3.98e-9, 0.361e-6), rel=0.01)
    assert thermodynamic.project(DIGITS, 4, 50, thermodynamic.CELL_JOULES).cycles == pytest.approx(0.235e-9, rel=0.01)
    assert thermodynamic.p_bits(DIGITS, 4) == 2352
    assert thermodynamic.p_bit_degree(DIGITS, 4) == 14 and thermodynamic.p_bit_degree(DIGITS, 2) == 4
    rate = thermodynamic.published_joules("THRML on eight B200, published", DIGITS, 2, 1)
    assert rate == pytest.approx(784 * 8000 / 186e9)


def test_a_machine_of_visible_and_hidden_units_takes_the_energy_of_its_p_bits():
    cycles, read, load = thermodynamic.project_bipartite(100, 40, 3, 16)
    assert cycles == pytest.approx(16 * (2 * 100 + 40) * 7.09e-15)
    assert read == pytest.approx(200 * 1.692e-12) and load == pytest.approx(240 * 153.6e-12)


def test_rows_and_figure_of_the_study(tmp_path):
    cycles, read, load = thermodynamic.project(DIGITS, 4, 50)
    ours = Baseline("ours", 1000 * (cycles + read), "energy counter", "a note")
    study = EnergyStudy(DIGITS, 4, 50, [ours, *published_baselines(DIGITS, 4, 50)])
    ratios = list(study.ratios(ours).values())
    assert ratios == pytest.approx(
        [1000 * (cycles + read) / cycles, 1000, 1000 * (cycles + read) / (cycles + read + load)]
    )
    by_hand = counted_by_hand(DIGITS, random_params(0, DIGITS, 4), 256)
    rows = {r.quantity: r for r in energy_rows(study, Work(165.0, 12.0, 0.0), by_hand, 256)}
    assert rows["ours / hardware with read-out"].value == pytest.approx(1000)
    assert rows["operations per sample"].value == pytest.approx(165 * 784 * 50)
    assert rows["operations per update, by hand"].value == 170
    assert rows["hardware: samples that cost as much as one load"].value == pytest.approx(load / (cycles + read))
    kinds = ("counted", "projected", "energy counter", "published", "of the compiler's")
    said = ("largest ratio / smallest ratio", "couplings per p-bit in thermometer code")
    assert all(any(kind in row.note for kind in kinds) for name, row in rows.items() if name not in said)
    energy_figure(tmp_path / "e.png", study, "a title")
    assert np.asarray(Image.open(tmp_path / "e.png").convert("L")).std() > 10
    assert jnp.isfinite(jnp.array([r.value for r in rows.values()])).all()
