"""Datasets, level coding and the order of batches."""

from jaxgen.data.batches import EpochOrder as EpochOrder
from jaxgen.data.batches import evaluation_slices as evaluation_slices
from jaxgen.data.binarize import binarize as binarize
from jaxgen.data.binarize import fixed_binarization as fixed_binarization
from jaxgen.data.datasets import Dataset as Dataset
from jaxgen.data.datasets import load as load
from jaxgen.data.datasets import select as select
from jaxgen.data.datasets import split as split
from jaxgen.data.idx import read_idx as read_idx
from jaxgen.data.levels import ALLOWED_LEVELS as ALLOWED_LEVELS
from jaxgen.data.levels import decode as decode
from jaxgen.data.levels import encode as encode
from jaxgen.data.levels import psnr as psnr
