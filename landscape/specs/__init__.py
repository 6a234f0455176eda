"""What a user writes: numbers, names with options, optimisers and schedules on one line."""

from landscape.specs.arguments import number as number
from landscape.specs.arguments import whole as whole
from landscape.specs.grammar import Line as Line
from landscape.specs.grammar import Options as Options
from landscape.specs.grammar import closest as closest
from landscape.specs.grammar import line as line
from landscape.specs.grammar import literal as literal
from landscape.specs.grammar import one_line as one_line
from landscape.specs.grammar import options as options
from landscape.specs.grammar import visible as visible
