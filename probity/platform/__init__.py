"""The pipeline and everything around it: the only place that knows the order of the stages.

Write ``from probity.platform import gate``, never ``from probity import platform``: the name is also a module of the
standard library.
"""
