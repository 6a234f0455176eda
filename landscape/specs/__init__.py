"""What is written on one line: names with options, optimisers, schedules."""

from landscape.specs.grammar import closest as closest
from landscape.specs.grammar import literal as literal
from landscape.specs.grammar import one_line as one_line
from landscape.specs.grammar import options as options
from landscape.specs.grammar import split as split
