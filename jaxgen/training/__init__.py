"""Training: state, step, parallel step, fit loop, checkpoints, ensembles."""

from jaxgen.training.checkpoint import Checkpoints as Checkpoints
from jaxgen.training.fit import FitOptions as FitOptions
from jaxgen.training.fit import Hook as Hook
from jaxgen.training.fit import NonFiniteError as NonFiniteError
from jaxgen.training.fit import Order as Order
from jaxgen.training.fit import fit as fit
from jaxgen.training.keys import LARGEST_SEED as LARGEST_SEED
from jaxgen.training.keys import beyond_steps as beyond_steps
from jaxgen.training.keys import seed_key as seed_key
from jaxgen.training.keys import stream as stream
from jaxgen.training.parallel import parallel_step as parallel_step
from jaxgen.training.parallel import replicate_data as replicate_data
from jaxgen.training.parallel import replicate_state as replicate_state
from jaxgen.training.parallel import shard_index as shard_index
from jaxgen.training.parallel import unreplicate_state as unreplicate_state
from jaxgen.training.state import TrainState as TrainState
from jaxgen.training.state import create as create
from jaxgen.training.step import from_loss as from_loss
from jaxgen.training.step import make_train_step as make_train_step
from jaxgen.training.task import Task as Task
from jaxgen.training.task import run_task as run_task
from jaxgen.training.task import train as train
