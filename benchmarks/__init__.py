"""The benchmark harness: see README.md beside this file. Nothing of the product imports it."""
