"""How fast nlpkit is on this machine, beside its peers: what ``nlpkit bench`` runs.

machine, roofline    what this machine is, and what it could do at most
texts                what is read
sides                the processes that are compared, and the peers' environments
compare              whether their outputs agree, before a time counts
contest              taking turns, medians, spread
rows, run            what is measured, and all of it in order
tables, plots        the results as JSON, Markdown and SVG
"""
