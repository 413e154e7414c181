"""hydra/sweeper=optuna: a Hydra sweeper that lets Optuna choose the values of the next jobs.

Hydra imports the modules of its plugins at each start, except modules with a leading underscore.
"""
