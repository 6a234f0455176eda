"""Files that nobody vouches for: told by their bytes, read and never run."""

from landscape.files.formats import FileReport as FileReport
from landscape.files.formats import TensorEntry as TensorEntry
from landscape.files.formats import describe as describe
from landscape.files.formats import dtype_name as dtype_name
from landscape.files.formats import few as few
from landscape.files.formats import file_format as file_format
from landscape.files.formats import inspect_file as inspect_file
from landscape.files.formats import named_tensors as named_tensors
from landscape.files.formats import read as read
from landscape.files.formats import read_tree as read_tree
from landscape.files.formats import refuse_pipe as refuse_pipe
from landscape.files.formats import tensor_of as tensor_of
