"""The errors that end a command with one sentence."""


class PipelineError(Exception):
    """What is wrong, where, and what to do, in one sentence for the user."""


class ConfigError(PipelineError):
    """A value of the configuration is missing, unknown, of the wrong type or out of range."""
