"""Files of remote writers' runs: where they are, and their list before the last event."""

from runcast._files.files import Files
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._producing.labels import FILES_LABEL
from runcast.events.model import OWN_EVENT_BYTES, decode_event, encode_record
from runcast.events.outcome import Outcome
from runcast.stores.base import LogInfo, Once

__all__ = ("FilesClaim", "records_with_files")


class FilesClaim:
    """Stores where the files of a run are, once for all nodes: see `Claim`.

    Args:
        info: the run's log, read before the file.
    """

    def __init__(self, hub: Hub, inlet: Inlet, info: LogInfo) -> None:
        self._hub = hub
        self._inlet = inlet
        self.known = info.labels.get(FILES_LABEL, "")

    async def store(self, here: str) -> str:
        """Return where the files are, which is `here` if nobody was first."""
        if not self.known:
            # Another node may receive a first file in this moment: the first label counts.
            appended = await self._inlet.append(labels={FILES_LABEL: here}, once=Once(FILES_LABEL))
            labels = appended.labels
            if labels is None:
                labels = (await self._hub.info(self._inlet.run_id, appended.epoch)).labels
            self.known = labels[FILES_LABEL]
        return self.known


async def records_with_files(
    hub: Hub, files: Files | None, inlet: Inlet, records: list[bytes], outcome: Outcome
) -> tuple[list[bytes], bool]:
    """Collect the files that a writer has sent, because the last of its records ends the run.

    Returns:
        The records with the `files` event before the last one; and whether there are files at all.
        The last one is `failed` if the run would be done without its files.
    """
    info = await hub.info(inlet.run_id)
    label = info.labels.get(FILES_LABEL)
    if files is None or label is None or info.epoch != inlet.epoch:
        return records, False
    if info.closed:
        return records, True  # only a repetition is answered
    ending, listed = await files.collect_sent(inlet.run_id, inlet.epoch, label, outcome)
    last = records[-1:]
    time = decode_event(b"{" + records[-1]).time  # of the writer: the run's times do not go back
    if ending is not outcome:
        last = [encode_record(ending.type, ending.data, time, None, OWN_EVENT_BYTES)]
    if listed is not None:
        record = encode_record("files", listed, time, None, hub.settings.max_event_bytes)
        last = [record, *last]
    return [*records[:-1], *last], True
