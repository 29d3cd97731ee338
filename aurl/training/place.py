"""Where a run's checkpoint is kept: in its folder, or at the URI that its ``storage.json`` names.

Apart from checkpoints themselves, which need torch: a trial's slot asks for the place only.
"""

from pathlib import Path
from typing import Any, TypeAlias

from aurl.errors import ConfigError
from aurl.files import read_json, write_json
from aurl.training.store import Remote, storage_at

POINTER = "storage.json"

Place: TypeAlias = Path | Remote
"""Where a run's checkpoint is kept: a folder of this machine, or one at a URI."""


def place_of(folder: Path) -> Place:
    """Where the checkpoint is kept of the run that has this checkpoint folder.

    Raises:
        ConfigError: If the folder names another place, and not as it should.
        SweepError: If that is no URI, or may hold a secret.
    """
    pointer = folder / POINTER
    if not pointer.exists():
        return folder
    said: Any = read_json(pointer)
    if not isinstance(said, dict) or not isinstance(said.get("uri"), str):
        raise ConfigError(f"{pointer} must hold a uri. It is damaged.")
    return storage_at(said["uri"])


def keep_at(folder: Path, remote: Remote) -> None:
    """Note in a run's checkpoint folder that its checkpoint is kept elsewhere."""
    write_json(folder / POINTER, {"uri": remote.uri})
