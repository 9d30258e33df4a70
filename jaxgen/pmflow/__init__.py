"""Pushing-medium flow: classifiers whose latent moves along the gradient of a refractive index, and their controls."""

from jaxgen.pmflow.classifiers import BNN as BNN
from jaxgen.pmflow.classifiers import CNN as CNN
from jaxgen.pmflow.classifiers import MLP as MLP
from jaxgen.pmflow.classifiers import Flow as Flow
from jaxgen.pmflow.classifiers import NeuralODE as NeuralODE
from jaxgen.pmflow.classifiers import Normalised as Normalised
from jaxgen.pmflow.classifiers import Residual as Residual
from jaxgen.pmflow.classifiers import logits as logits
from jaxgen.pmflow.config import ModelConfig as ModelConfig
from jaxgen.pmflow.config import PMFlowConfig as PMFlowConfig
from jaxgen.pmflow.config import model_configs as model_configs
from jaxgen.pmflow.evaluate import Trained as Trained
from jaxgen.pmflow.evaluate import collect as collect
from jaxgen.pmflow.evaluate import predictions as predictions
from jaxgen.pmflow.field import displacement as displacement
from jaxgen.pmflow.field import euler as euler
from jaxgen.pmflow.field import log_index as log_index
from jaxgen.pmflow.field import log_index_gradient as log_index_gradient
from jaxgen.pmflow.lateral import Kernel as Kernel
from jaxgen.pmflow.lateral import coupling as coupling
from jaxgen.pmflow.models import FAITHFUL as FAITHFUL
from jaxgen.pmflow.models import MODELS as MODELS
from jaxgen.pmflow.models import build_model as build_model
from jaxgen.pmflow.models import parameter_count as parameter_count
from jaxgen.pmflow.study import prepare as prepare
from jaxgen.pmflow.task import PMFlowTask as PMFlowTask
