"""The verb `dapter audit`: attack converters and say the worst that was learned."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import OmitArgPrefixes, Positional

from dapter.errors import UsageError
from dapter.options import DataOptions, PresetName, ServiceOptions


@dataclass(frozen=True)
class Audit:
    """Attack converters with everything there is, and report how much each attack learned beyond the answer."""

    subjects: Positional[tuple[str, ...]]
    """Run folders of `dapter train`, or names of defences without training: identity, constant."""
    service: OmitArgPrefixes[ServiceOptions]
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    secrets: tuple[str, ...] = ()
    """The labels that the attacker wants. The image itself is always one more secret."""
    attacks: tuple[str, ...] = ("all",)
    """Which attacks: all, or some of them by name."""
    seeds: int = 1
    """How often each attack is repeated, with another seed."""
    preset: PresetName = "cpu"
    """The scale of the attacks: tiny (a try), cpu (two cores), paper (a GPU)."""
    out: Path = Path("runs")
    """Where run folders are kept."""

    def run(self) -> None:
        """Do it.

        Raises:
            UsageError: nothing to attack.
        """
        if not self.subjects:
            raise UsageError("nothing to attack is named. Cure: give a run folder of `dapter train`")
        from dapter.audit import audit
        from dapter.tables import leak_table

        found = audit(
            self.subjects,
            self.service.load(),
            self.data.load(self.secrets),
            attacks=self.attacks,
            seeds=self.seeds,
            root=self.out,
            preset=self.preset,
            source=f"dapter {' '.join(sys.argv[1:])}",
        )
        print(leak_table(found))
        print(f"Every figure is in {self.out}, in the folders audit-*")
