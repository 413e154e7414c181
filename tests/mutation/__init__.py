"""Mutation testing: measures how many faults in the code the tests detect."""
