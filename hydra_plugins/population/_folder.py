"""The folder of a job, with the three files that Hydra writes to `.hydra/`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from pipeline.hydra_compat import represent_str

# The values of Hydra's own node in which the jobs of a sweep differ.
CHANGING = (
    ("job", "id"),
    ("job", "num"),
    ("job", "override_dirname"),
    ("overrides", "task"),
    ("runtime", "output_dir"),
)


class FolderWriter:
    """Writes the folders of jobs. Text that is equal for many jobs is made once."""

    def __init__(self) -> None:
        """Write the folders of one sweep."""
        self._parents: set[Path] = set()  # that exist
        self._texts: dict[tuple[str, str], str] = {}  # of the values of jobs, by name and value
        self._templates: dict[int, list[str]] = {}  # of hydra.yaml, by the ID of a configuration

    def write(self, folder: Path, config: DictConfig, task: DictConfig) -> None:
        """Create the folder of a job and its `.hydra/`, as Hydra does.

        Args:
            folder: of the job.
            config: of the job, with the node `hydra`. Configurations that are the same object
                differ in `CHANGING` only.
            task: the same without that node.

        Raises:
            OSError: the folder cannot be written.
        """
        self._create(folder)
        if config.hydra.output_subdir is None:
            return
        saved = folder / config.hydra.output_subdir
        self._create(saved)
        texts = {
            "config.yaml": self._config_text(task),
            "hydra.yaml": self._hydra_text(config),
            "overrides.yaml": _dump(OmegaConf.to_container(config.hydra.overrides.task)),
        }
        for name, text in texts.items():
            (saved / name).write_text(text, encoding="utf-8")

    def _create(self, folder: Path) -> None:
        if folder.parent not in self._parents:
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._parents.add(folder.parent)
        folder.mkdir(exist_ok=True)

    def _config_text(self, task: DictConfig) -> str:
        values = OmegaConf.to_container(task, enum_to_str=True)
        assert isinstance(values, dict)
        parts = []
        for name, value in values.items():
            key = str(name), repr(value)
            if key not in self._texts:
                self._texts[key] = _dump({name: value})
            parts.append(self._texts[key])
        return "".join(parts) or "{}\n"

    def _hydra_text(self, config: DictConfig) -> str:
        if id(config) not in self._templates:
            self._templates[id(config)] = _template(config)
        parts = list(self._templates[id(config)])
        groups: dict[str, Any] = {
            group: OmegaConf.to_container(config.hydra[group]) for group in dict(CHANGING)
        }
        for i in range(1, len(parts), 2):  # the gaps in the template
            group, name = CHANGING[int(parts[i])]
            nested = _dump({"hydra": {group: {name: groups[group][name]}}})
            parts[i] = nested.split("\n", 2)[2]
        return "".join(parts)


def _template(config: DictConfig) -> list[str]:
    """The text of hydra.yaml: fixed parts, and between them indices into `CHANGING`."""
    values: Any = OmegaConf.to_container(config.hydra, enum_to_str=True)
    for i, (group, name) in enumerate(CHANGING):
        values[group][name] = f"CHANGING{i}"
    return re.split(r"^ *\w+: CHANGING(\d)\n", _dump({"hydra": values}), flags=re.MULTILINE)


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """Writes OmegaConf's YAML with libyaml, which is faster and breaks long lines differently."""


_Dumper.add_representer(str, represent_str)


def _dump(values: Any) -> str:
    """YAML as OmegaConf.save writes it."""
    text: str = yaml.dump(
        values, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=_Dumper
    )
    return text
