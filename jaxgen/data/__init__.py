"""Built-in datasets and images of one's own, level coding and the order of batches."""

from jaxgen.data.batches import EpochOrder as EpochOrder
from jaxgen.data.batches import evaluation_slices as evaluation_slices
from jaxgen.data.binarize import binarize as binarize
from jaxgen.data.binarize import fixed_binarization as fixed_binarization
from jaxgen.data.dataset import Dataset as Dataset
from jaxgen.data.dataset import parse_classes as parse_classes
from jaxgen.data.dataset import select as select
from jaxgen.data.dataset import split as split
from jaxgen.data.datasets import load as load
from jaxgen.data.idx import read_idx as read_idx
from jaxgen.data.levels import ALLOWED_LEVELS as ALLOWED_LEVELS
from jaxgen.data.levels import FEWEST_LEVELS as FEWEST_LEVELS
from jaxgen.data.levels import MOST_LEVELS as MOST_LEVELS
from jaxgen.data.levels import decode as decode
from jaxgen.data.levels import encode as encode
from jaxgen.data.levels import psnr as psnr
from jaxgen.data.own_images import load_images as load_images
from jaxgen.data.own_images import read_images as read_images
from jaxgen.data.shifts import shift as shift
from jaxgen.data.source import data_dir_option as data_dir_option
from jaxgen.data.source import dataset_option as dataset_option
from jaxgen.data.source import images_option as images_option
from jaxgen.data.source import levels_option as levels_option
from jaxgen.data.source import name_of as name_of
from jaxgen.data.source import open as open
