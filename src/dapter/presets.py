"""How much to spend: settings that belong together, from a minute's trial to the paper's scale."""

from dataclasses import dataclass, replace

from dapter.errors import UsageError
from dapter.loop import Plan


@dataclass(frozen=True)
class Preset:
    """Settings for one scale.

    Attributes:
        arch, width: of the service's classifiers.
        service_plan: how they are trained.
        converter_width: channels of the converter.
        plan: how the converter is trained.
        fine_tune_epochs: of the trainings that start from another converter's weights.
        warm_up: the share of the converter's training over which λ rises; a short training needs more of it.
    """

    arch: str
    width: int
    service_plan: Plan
    converter_width: int
    plan: Plan
    fine_tune_epochs: int
    warm_up: float

    @property
    def fine_tune_plan(self) -> Plan:
        """`plan` for a warm start."""
        return replace(self.plan, epochs=self.fine_tune_epochs)


PRESETS = {
    "tiny": Preset("resnet18", 8, Plan(epochs=6, batch_size=64), 16, Plan(epochs=6, batch_size=64), 2, 0.5),
    "cpu": Preset("resnet18", 16, Plan(epochs=12), 16, Plan(epochs=4), 2, 0.2),
    "paper": Preset("resnet18", 64, Plan(epochs=100, patience=20), 32, Plan(epochs=100, patience=20), 20, 0.2),
}
"""`tiny` for trials and the demo, `cpu` for two cores and an hour, `paper` for the paper's scale on a GPU."""


def find_preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        UsageError: no such preset.
    """
    if name not in PRESETS:
        raise UsageError(f"no preset named {name!r}. There are: {', '.join(PRESETS)}")
    return PRESETS[name]
