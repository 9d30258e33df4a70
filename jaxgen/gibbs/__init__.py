"""Lattice graphs and Gibbs engines for Potts models."""

from jaxgen.gibbs.bipartite import sample_bipartite as sample_bipartite
from jaxgen.gibbs.conditionals import conditional_logits as conditional_logits
from jaxgen.gibbs.conditionals import log_pseudo_likelihood as log_pseudo_likelihood
from jaxgen.gibbs.couplings import check_params as check_params
from jaxgen.gibbs.couplings import edge_couplings as edge_couplings
from jaxgen.gibbs.couplings import is_tied as is_tied
from jaxgen.gibbs.couplings import n_levels as n_levels
from jaxgen.gibbs.engines.thrml import potts_factors as potts_factors
from jaxgen.gibbs.engines.thrml import potts_program as potts_program
from jaxgen.gibbs.graph import Graph as Graph
from jaxgen.gibbs.graph_params import graph_energy as graph_energy
from jaxgen.gibbs.lattice import BOUNDARIES as BOUNDARIES
from jaxgen.gibbs.lattice import NEIGHBOURHOODS as NEIGHBOURHOODS
from jaxgen.gibbs.lattice import Lattice as Lattice
from jaxgen.gibbs.lattice import offset_name as offset_name
from jaxgen.gibbs.mixing import autocorrelation as autocorrelation
from jaxgen.gibbs.mixing import effective_sample_size as effective_sample_size
from jaxgen.gibbs.mixing import integrated_autocorrelation_time as integrated_autocorrelation_time
from jaxgen.gibbs.mixing import split_r_hat as split_r_hat
from jaxgen.gibbs.sample import ENGINES as ENGINES
from jaxgen.gibbs.sample import sample as sample
from jaxgen.gibbs.sample import sample_stages as sample_stages
from jaxgen.gibbs.thrml_models import ThrmlModel as ThrmlModel
from jaxgen.gibbs.thrml_models import from_thrml as from_thrml
from jaxgen.gibbs.thrml_models import to_thrml as to_thrml
from jaxgen.gibbs.types import SampleInfo as SampleInfo
