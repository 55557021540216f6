"""The contract of a lake while files are taken in: found in the first ones, kept by the others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import Contract
from vae_anomaly.errors import ContractError, ReadingsError
from vae_anomaly.readings.check import check_parts, match_contract
from vae_anomaly.readings.chunks import read_head
from vae_anomaly.readings.columns import merge_columns
from vae_anomaly.readings.contract import (
    INGEST,
    check_settings,
    note_unknown_columns,
    note_unknown_names,
    require_asset,
)
from vae_anomaly.readings.files import VALUE_ERRORS, RawFile
from vae_anomaly.readings.parts import RawPart
from vae_anomaly.readings.source import open_file
from vae_anomaly.readings.tables import Lake

REFUSALS = (ReadingsError, ContractError, *VALUE_ERRORS)
"""Why a file gives no contract; it is refused with a reason when its turn comes."""


class LakeContract:
    """The contract that the readings of a lake keep.

    Attributes:
        found: The contract, None as long as no file has given one.

    Args:
        lake: The lake.
        config: How to understand the files.

    Raises:
        ContractError: The settings ask for something else than the contract that is there.
    """

    def __init__(self, lake: Lake, config: ReadingsConfig) -> None:
        self._lake = lake
        self._config = config
        self.found = lake.read_contract()
        if self.found is not None:
            check_settings(self.found, config)

    def find_in(self, files: Sequence[RawFile]) -> None:
        """Write down a contract, where there is none yet.

        It is that of the first file that has one. Where files may lack sensors, it has those of
        all files that can be read, so that sensors may come in files of their own.
        """
        if self.found is not None:
            return
        if self._config.missing_sensors == "missing":
            self._find_common(files)
        for file in files if self.found is None else ():
            try:
                part = open_file(file, config=self._config)
                if part.num_rows == 0:
                    continue
                self.found = self._infer([part])
            except REFUSALS:
                continue
            return

    def _find_common(self, files: Sequence[RawFile]) -> None:
        parts = []
        for file in files:
            with suppress(*REFUSALS):
                parts.append(open_file(file, config=self._config))
        parts = [part for part in parts if part.num_rows]
        with suppress(*REFUSALS):  # the first file has to do then
            self.found = self._infer(parts) if parts else None

    def _infer(self, parts: Sequence[RawPart]) -> Contract:
        """Infer the contract from the first rows of the first part, and write it down.

        Of the others the columns count, and one row.
        """
        head = [read_head(parts[0]), *(read_head(part, max_rows=1) for part in parts[1:])]
        contract = check_parts(head, config=self._config).contract
        self._lake.write_contract(contract)
        return contract

    def match(self, part: RawPart) -> tuple[Contract, tuple[str, ...]]:
        """Check the columns of a file against the contract of the lake."""
        if self.found is None:
            self.found = self._infer([part])
        if self.found.asset is None:
            require_asset(part.schema.names, self._config.asset, purpose=INGEST)
        columns = merge_columns([part])
        contract = match_contract(columns, self.found, self._config.asset, purpose=INGEST)
        return contract, (
            *note_unknown_columns(columns, contract),
            *note_unknown_names(self._config, part.schema.names, contract),
        )
