"""What the threads of a hub do with workspaces, done at once."""

from collections.abc import Callable, Mapping

from runcast._files.collecting import Collected
from runcast._files.fair_threads import finish
from runcast._files.removing import remove_folder
from runcast._files.workspace import Life, Workspace, Workspaces
from runcast._functions.file_groups import FileGroup


def collect(workspace: Workspace, groups: Mapping[str, FileGroup]) -> Collected:
    """Take what a run made, and remove the rest."""
    found = finish(workspace.collecting(groups))
    finish(workspace.tidying())
    return found


def sweep(workspaces: Workspaces, life_of: Callable[[str, str], Life]) -> int:
    """Remove what nobody needs any more."""
    return finish(workspaces.sweeping(life_of, workspaces._clock.time()))


def remove(workspaces: Workspaces, run_id: str, epoch: str) -> None:
    """Remove what is kept of one epoch of a run."""
    hidden = workspaces.hide(run_id, epoch)
    if hidden is not None:
        remove_folder(hidden)
