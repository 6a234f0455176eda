"""Which stationary points are there? Of one landscape, of many, against dimension and width."""

from landscape.inventory.census import Census as Census
from landscape.inventory.counting import SaddleCounts as SaddleCounts
from landscape.inventory.counting import count_saddles as count_saddles
from landscape.inventory.networks import NetworkCensus as NetworkCensus
from landscape.inventory.networks import critical_points as critical_points
from landscape.inventory.picture import picture as picture
from landscape.inventory.training_paths import training_paths as training_paths
from landscape.inventory.tree import Tree as Tree
from landscape.inventory.widths import WidthStudy as WidthStudy
from landscape.inventory.widths import index_by_width as index_by_width
from landscape.landscapes.grid import Grid

Picture = Grid
