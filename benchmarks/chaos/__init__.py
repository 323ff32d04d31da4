"""
A tree under live change and load while everything is hit: what is done when, who sees it, and what is made of it.

Pure: ``schedule`` (what is done), ``answers`` (what is counted), ``timeline`` and ``report`` (what is shown).
``asking`` is the program that asks, ``lives`` and ``ends`` look at processes, ``faults`` does what the schedule says,
and ``run`` puts them together.
"""
