"""What is this point? The results of ``analyze``, ``classify`` and ``find_stationary``, and the
spectrum alone.
"""

from landscape.points.analyze import AnalysisReport as AnalysisReport
from landscape.points.analyze import Spectrum as Spectrum
from landscape.points.analyze import spectrum as spectrum
from landscape.points.blocks import Blocks as Blocks
from landscape.points.blocks import blocks as blocks
from landscape.points.budget import Forecast as Forecast
from landscape.points.budget import forecast as forecast
from landscape.points.checks import Check as Check
from landscape.points.classify import StationaryPoint as StationaryPoint
from landscape.points.find import FoundPoint as FoundPoint
from landscape.points.room import Room as Room
from landscape.points.room import room as room
from landscape.points.survive import Survival as Survival
from landscape.points.survive import survive as survive
