"""Several processes that work on one landscape: who they are, what they exchange, and how vectors
lie on them.
"""

from landscape.ranks.group import ALONE as ALONE
from landscape.ranks.group import Ranks as Ranks
from landscape.ranks.group import joined as joined
from landscape.ranks.group import joined_already as joined_already
from landscape.ranks.group import may_speak as may_speak
from landscape.ranks.group import several as several
from landscape.ranks.spread import Spread as Spread
