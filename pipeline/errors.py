"""The errors that end a command with one sentence."""


class PipelineError(Exception):
    """One sentence for the user: the failure, the reason and the remedy."""


class ConfigError(PipelineError):
    """A value of the configuration is missing, unknown, of the wrong type or out of range."""


class DataError(PipelineError):
    """A dataset is unknown, missing, unreadable or damaged."""

    def __init__(self, sentence: str) -> None:
        """Keep the sentence on one printable line, whatever characters a file name contains."""
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in sentence))
