"""The verb `dapter verify`: check a release, and measure it again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import OmitArgPrefixes, Positional

from dapter.errors import CheckFailed, UsageError
from dapter.options import DataOptions, PresetName, ServiceOptions, check_unused

if TYPE_CHECKING:  # without --recompute nothing heavy is imported
    from dapter.verify import Release
    from dapter.verify_report import Outcome


@dataclass(frozen=True)
class Asked(ServiceOptions):
    """The service that payloads are sent to, for measuring again."""

    service: tuple[str, ...] = ()
    """Its run folder or files, as for `dapter train`. Claims about answers and training again need it."""


@dataclass(frozen=True)
class Verify:
    """Check that a release is what its provider signed and keeps every rule; measure it again if asked to."""

    release: Positional[Path]
    """The folder."""
    key: Path | None = None
    """The provider's public key, got in another way than with the release."""
    sigstore: tuple[str, str] | None = None
    """Instead of a key: who signed, and the URL of the provider that knows them. Needs a network."""
    out: Path = Path("verify")
    """Where report.html and report.json go; not inside the release."""
    recompute: bool = False
    """Run every export, and measure the claims again on images of your own: --data, and --service to ask."""
    retrain: bool = False
    """Train the converter again from the manifest, and compare. Needs --service and the data of the training."""
    service: OmitArgPrefixes[Asked] = field(default_factory=Asked)
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    secrets: tuple[str, ...] = ()
    """Labels to attack, beside the image."""
    attacks: tuple[str, ...] = ("all",)
    """Which attacks: all, or some of them by name."""
    preset: PresetName = "cpu"
    """The scale of the attacks."""
    runs: Path = Path("runs")
    """Where the run folders of attacks and of training go."""

    def run(self) -> None:
        """Do it.

        Raises:
            UsageError: not one way to trust, no service to train against, results that would go into the release, or
                options that nothing reads.
            CheckFailed: a rule is broken, or a claim contradicted.
        """
        from dapter.verify import inspect_release
        from dapter.verify.signature import Identity
        from dapter.verify_report import make_report, write_verification

        if (self.key is None) == (self.sigstore is None):
            raise UsageError("say whom to trust in one way. Cure: --key signing.pub, or --sigstore WHO ISSUER")
        self._check_read()
        self._check_apart()
        found = inspect_release(self.release, self.key or Identity(*(self.sigstore or ("", ""))))
        outcomes = [] if found.problems or found.release is None else self._again(found.release)
        report = make_report(found, outcomes)
        _, page = write_verification(report, self.out)
        for outcome in outcomes:
            figures = f"claimed {outcome.claimed or '-'}, found {outcome.found or '-'}"
            print(f"{outcome.verdict}: {outcome.what}: {figures}. {outcome.reason}".strip())
        if not found.problems and found.release is not None:
            manifest = found.release.manifest
            print(f"{manifest['name']} {manifest['version']}, signed by {found.signer}: every rule holds")
        print(f"The report is {page}; it says what was not proven")
        found.require()
        wrong = [outcome.what for outcome in outcomes if outcome.verdict == "contradicted"]
        if wrong:
            raise CheckFailed(f"contradicted: {'; '.join(wrong)}. Cure: do not use it, ask its maker")

    def _check_read(self) -> None:
        """Whether something reads what was asked for: a check that was not made must not look like one."""
        if not self.recompute:
            check_unused(self, ("attacks", "preset"), "--recompute")
        if not (self.recompute or self.retrain):
            check_unused(self, ("service", "data", "secrets", "runs"), "--recompute or --retrain")

    def _check_apart(self) -> None:
        """Refuse to add files to the release: it would no longer be what was signed."""
        written = [("out", self.out, "verify")]
        written += [("runs", self.runs, "runs")] if self.recompute or self.retrain else []
        for option, place, default in written:
            if place.resolve().is_relative_to(self.release.resolve()):
                raise UsageError(
                    f"--{option} {place} is inside the release, which may hold nothing but what was signed. "
                    f"Cure: a folder outside; from inside the release, --{option} ../{default}"
                )

    def _again(self, release: "Release") -> "list[Outcome]":
        """What running it shows, as far as that was asked for."""
        if not (self.recompute or self.retrain):
            return []
        from dapter.recompute import recompute
        from dapter.recompute.retrain import retrain

        service = self.service.load() if self.service.service else None
        data = self.data.load(self.secrets)
        outcomes = []
        if self.recompute:
            outcomes = recompute(release, data, service, attacks=self.attacks, preset=self.preset, root=self.runs)
        if self.retrain:
            if service is None:
                raise UsageError("training needs the service. Cure: --service")
            outcomes += retrain(release, data, service, root=self.runs)
        return outcomes
