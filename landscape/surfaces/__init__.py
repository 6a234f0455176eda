"""What does it look like? Values on lines and planes, trajectories on them, and what the picture
misses.
"""

from landscape.surfaces.checking import check_picture as check_picture
from landscape.surfaces.connection import connection_plane as connection_plane
from landscape.surfaces.planes import Plane as Plane
from landscape.surfaces.planes import plane as plane
from landscape.surfaces.result import PictureCheck as PictureCheck
from landscape.surfaces.result import Surface as Surface
from landscape.surfaces.walks import Walk as Walk
