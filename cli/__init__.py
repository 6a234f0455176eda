"""The command line of `landscape`: it parses, calls the library once, and renders. No arithmetic
here.
"""
