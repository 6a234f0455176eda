"""What lies between two points? Passes, curves of low loss, and the tree of minima."""

from landscape.paths.compare import Compared as Compared
from landscape.paths.connect import Connection as Connection
from landscape.paths.connect import connect as connect
from landscape.paths.curves import Profile as Profile
from landscape.paths.curves import profile as profile
from landscape.paths.disconnectivity import disconnectivity as disconnectivity
from landscape.paths.minimum_energy import EnergyPath as EnergyPath
