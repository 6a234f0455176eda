"""What solvers hand back: results that know their errors, where they come from, and how they are
stored.
"""

from landscape.results.base import Provenance as Provenance
from landscape.results.base import Result as Result
from landscape.results.estimate import Bounded as Bounded
from landscape.results.estimate import Estimate as Estimate
from landscape.results.provenance import origin as origin
from landscape.results.provenance import provenance as provenance
from landscape.results.store import atomic_write as atomic_write
from landscape.results.store import load as load
from landscape.results.store import plain as plain
from landscape.results.store import result as result
from landscape.results.store import save as save
from landscape.results.words import Fact as Fact
from landscape.results.words import Table as Table
from landscape.results.words import Words as Words
