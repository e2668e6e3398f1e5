"""Which inputs of a log joint interact, by its structure: an abstract interpreter of its jaxpr.

Two inputs i and j of a number f do *not* interact if f = g(without i) + h(without j), for all values. An element of an
array is held as a list of terms: its value is a constant plus a sum of terms, each some function of the inputs in its
set. Inputs interact only if some term has both. Nothing is said of derivatives: a comparison, a cast, a floor or a
choice is a function of all its inputs, and whole numbers and booleans are inputs like all others.

- :mod:`.sets`: sets of inputs, and sets of sets.
- :mod:`.terms`: arrays of lists of terms, and joins, merges, scalings and products of them.
- :mod:`.operations`: what each primitive of JAX does to lists.
- :mod:`.interpreter`: a walk through a jaxpr, its calls, loops and branches.
- :mod:`.joint`: the jaxpr of the log joint of a program.
"""
