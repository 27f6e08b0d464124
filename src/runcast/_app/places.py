"""Where the files of a hub's runs are kept, as its store and its settings say."""

from pathlib import Path

from runcast._files.bucket import Bucket
from runcast._files.data_dir import DataDir
from runcast._files.files import Files
from runcast._hub.hub import Hub
from runcast._settings import Settings
from runcast.stores.base import Store

__all__ = ("files_of", "shares_files")


def files_of(hub: Hub) -> Files:
    """Return the files of a hub's runs."""
    bucket = Bucket(hub.settings.files) if hub.settings.files else None
    return Files(hub, _data_dir(hub.store, hub.settings), bucket)


def shares_files(hub: Hub) -> bool:
    """Return whether other processes on the store can have the files of this hub's runs."""
    is_placed = hub.settings.data_dir or hub.settings.files or hub.store.path is not None
    return bool(is_placed) and hub.store.is_lasting


def _data_dir(store: Store, settings: Settings) -> DataDir:
    """Return the folder for a store's files, which lasts as long as the store."""
    given = settings.data_dir
    if not store.is_lasting:
        return DataDir(parent=given)
    if store.path is not None:
        beside = Path(given or f"{store.path}.data")
        return DataDir(beside, store=str(Path(store.path).absolute()) if given else "")
    return DataDir(Path(given), store=lambda: store.identity) if given else DataDir()
