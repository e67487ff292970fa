"""The verbs `dapter release build` and `dapter release diff`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from dapter.errors import UsageError
from dapter.options import ServiceOptions


@dataclass(frozen=True)
class ReleaseBuild:
    """Make a signed release of a converter that is trained, measured and exported."""

    run_folder: Positional[Path]
    """A run folder of `dapter train`, with its exports."""
    out: Path
    """The new folder."""
    service: OmitArgPrefixes[ServiceOptions]
    key: Path | None = None
    """The private key, PEM, ECDSA on P-256. Its public key must lie beside it, or be named."""
    public_key: Path | None = None
    """The public key that the result is verified with. Default: the private key's name with .pub."""
    sigstore: tuple[str, str] | None = None
    """Sign with Sigstore instead of a key: who signs, and the URL of the provider that knows them. Needs a network."""
    audits: tuple[Path, ...] = ()
    """Folders of `dapter audit`, or files of results, that attacked this converter."""
    version: str = "1.0.0"
    """Three numbers."""
    name: str | None = None
    """Of the release. Default: data, targets, defence."""
    licence: str = "Apache-2.0"
    """Of the converter."""
    licence_file: Path | None = None
    """Its text, if it is another."""

    def run(self) -> None:
        """Do it.

        Raises:
            UsageError: not one way to sign, or terms that no release may have.
        """
        from dapter.release.build import Terms, build_release
        from dapter.release.folder import sign_with_key, sign_with_sigstore
        from dapter.runs import Run
        from dapter.verify import inspect_release
        from dapter.verify.signature import Identity

        terms = Terms(self.version, self.name, self.licence, self.licence_file)
        key = self.key
        if key is not None and self.sigstore is None:
            trusted: Path | Identity = self.public_key or key.with_suffix(".pub")
        elif key is None and self.sigstore is not None:
            trusted = Identity(*self.sigstore)
        else:
            raise UsageError("a release is signed in one way. Cure: --key signing.key, or --sigstore WHO ISSUER")
        built = build_release(
            Run.load(self.run_folder),
            self.out,
            service=self.service.load(),
            sign=sign_with_sigstore if key is None else lambda folder: sign_with_key(folder, key),
            check=lambda folder: inspect_release(folder, trusted),
            audits=self.audits,
            terms=terms,
        )
        print(f"The release is in {built}; it passed its own verification")


@dataclass(frozen=True)
class ReleaseDiff:
    """Say what changed between two releases, in behaviour and in claims. Both are verified first."""

    old: Positional[Path]
    """A release."""
    new: Positional[Path]
    """Another one."""
    key: Path
    """The provider's public key."""
    old_key: Path | None = None
    """That of the old release, if it is another."""

    def run(self) -> None:
        """Do it."""
        from dapter.release.diff import compare_releases
        from dapter.verify import verify_release

        old, new = verify_release(self.old, self.old_key or self.key), verify_release(self.new, self.key)
        changes = compare_releases(old, new)
        print("\n".join(changes) or "Nothing changed")


@dataclass(frozen=True)
class Release:
    """Make signed, public releases of a converter, and compare them."""

    action: OmitSubcommandPrefixes[
        Annotated[ReleaseBuild, subcommand("build")] | Annotated[ReleaseDiff, subcommand("diff")]
    ]

    def run(self) -> None:
        """Do it."""
        self.action.run()
