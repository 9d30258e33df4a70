"""Pictures: grids of images, animations and labelled figures, written atomically."""

from jaxgen.visualization.animation import figure_array as figure_array
from jaxgen.visualization.animation import save_colour_gif as save_colour_gif
from jaxgen.visualization.curves import curves_figure as curves_figure
from jaxgen.visualization.grids import Panel as Panel
from jaxgen.visualization.grids import image_grid as image_grid
from jaxgen.visualization.grids import samples_figure as samples_figure
from jaxgen.visualization.grids import save_figure as save_figure
from jaxgen.visualization.grids import save_gif as save_gif
from jaxgen.visualization.grids import save_image as save_image
from jaxgen.visualization.network import draw_network as draw_network
from jaxgen.visualization.network import network_figure as network_figure
