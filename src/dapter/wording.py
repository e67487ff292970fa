"""What each figure is called and how it is written: one wording for terminal, README and page."""

from typing import NamedTuple

from dapter.types import Measurement


class Wording(NamedTuple):
    """How one measure is shown.

    Attributes:
        label: its name in plain words.
        unit: written behind the number.
        scale: the number shown is the value times this.
        form: format of the number.
    """

    label: str
    unit: str = ""
    scale: float = 1.0
    form: str = ",.3f"


_ORIGINAL = "_original"
_RESTORED = {
    "reprint_accuracy_": Wording("the service's accuracy on restored images", "%", 100, ".1f"),
    "reprint_secret_accuracy_": Wording("accuracy of a recogniser on restored images", "%", 100, ".1f"),
    "reprint_secret_balanced_accuracy_": Wording("its balanced accuracy on restored images", "%", 100, ".1f"),
    "reprint_secret_auc_": Wording("AUC of a recogniser on restored images"),
}
"""Measures that end in the name of a label."""

_WORDS = {
    "target_accuracy": Wording("accuracy of the answer", "%", 100, ".1f"),
    "target_balanced_accuracy": Wording("balanced accuracy", "%", 100, ".1f"),
    "target_auc": Wording("AUC"),
    "calibration_error": Wording("calibration error", "%", 100, ".1f"),
    "agreement": Wording("same answer as for the original", "%", 100, ".1f"),
    "agreement_webp_q75": Wording("same answer after WebP quality 75", "%", 100, ".1f"),
    "agreement_jpeg_q75": Wording("same answer after JPEG quality 75", "%", 100, ".1f"),
    "payload_bytes_features": Wording("bytes on the wire, features", "bytes", 1, ",.0f"),
    "target_accuracy_lost": Wording("accuracy of the answer lost", "points", 100, ".1f"),
    "api_agreement": Wording("same answer of the service behind the URL as for the original", "%", 100, ".1f"),
    "api_accuracy": Wording("accuracy of the service behind the URL", "%", 100, ".1f"),
    "surrogate_agreement": Wording("the stand-in answers originals as that service does", "%", 100, ".1f"),
    "leak": Wording("leak", form=".2f"),
    "secret_accuracy": Wording("accuracy", "%", 100, ".1f"),
    "secret_balanced_accuracy": Wording("balanced accuracy", "%", 100, ".1f"),
    "secret_auc": Wording("AUC"),
    "secret_accuracy_ideal": Wording("accuracy of a guess from the true answer", "%", 100, ".1f"),
    "secret_accuracy_ideal_vanilla": Wording("the same, times the accuracy on originals", "%", 100, ".1f"),
    "abuse_accuracy": Wording("accuracy on originals of a model trained on payloads", "%", 100, ".1f"),
    "abuse_balanced_accuracy": Wording(
        "balanced accuracy on originals of a model trained on payloads", "%", 100, ".1f"
    ),
    "abuse_auc": Wording("AUC on originals of a model trained on payloads"),
    "ssim": Wording("SSIM"),
    "ms_ssim": Wording("MS-SSIM"),
    "psnr": Wording("PSNR", "dB", 1, ".1f"),
    "mse": Wording("mean squared error", form=".4f"),
    "l1": Wording("L1"),
    "perceptual_distance": Wording("perceptual distance"),
    "reid_auc": Wording("AUC of recognising the person in other photos"),
    "reid_rank1": Wording("person found first among others", "%", 100, ".1f"),
    "necessity_accuracy": Wording("accuracy of a classifier of the client part's size", "%", 100, ".1f"),
    "attention_consistency": Wording("correlation of the service's attention before and after", form=".2f"),
    "attacks_not_run": Wording("attacks that take payloads for images, not run on features", form=".0f"),
    "audit_core_minutes": Wording("processor time of the audit", "core-minutes", 1, ",.1f"),
    "budget_bits": Wording("the most that any payload carries", "bits", 1, ",.1f"),
    "bits_beyond_answer": Wording("carried beyond the answer", "bits", 1, ",.2f"),
    "bits_total": Wording("carried in total", "bits", 1, ",.2f"),
    "capacity_bits": Wording("the most that a payload tells on average, also of many together", "bits", 1, ",.2f"),
    "secret_gain_bound": Wording("the most that a payload adds to the accuracy of any guess", "points", 100, ".1f"),
    "secret_accuracy_bound": Wording("the best accuracy of any attack on these images", "%", 100, ".1f"),
    "secret_accuracy_fano": Wording("the best accuracy of any attack, by Fano's inequality", "%", 100, ".1f"),
    "restored_mse_bound": Wording("the least squared error of any restoration of these images", form=".4f"),
    "epsilon": Wording("epsilon of differential privacy", form=",.2f"),
    "distinct_payloads": Wording("different payloads", form=",.0f"),
    "cannot_tell": Wording('answered "cannot tell"', "%", 100, ".1f"),
    "gold_accuracy": Wording("accuracy on originals", "%", 100, ".1f"),
    "fleiss_kappa": Wording("agreement of raters, Fleiss' kappa", form=".2f"),
    "raters": Wording("raters who count", form=".0f"),
    "raters_left_out": Wording("raters left out", form=".0f"),
    "rater_accuracy": Wording("a rater's accuracy", "%", 100, ".1f"),
    "rater_gold_accuracy": Wording("a rater's accuracy on originals", "%", 100, ".1f"),
    "entropy_bits": Wording("image entropy", "bits", 1, ",.2f"),
    "entropy_nats": Wording("image entropy", "nats", 1, ",.2f"),
    "eta": Wording("eta, distance from grey"),
    "original_bytes": Wording("bytes of the photo's file", "bytes", 1, ",.0f"),
    "payload_bytes": Wording("bytes of the payload's file", "bytes", 1, ",.0f"),
    "request_bytes": Wording("bytes of the request", "bytes", 1, ",.0f"),
    "payload_bytes_png": Wording("bytes on the wire, PNG", "bytes", 1, ",.0f"),
    "payload_bytes_webp_lossless": Wording("bytes on the wire, WebP lossless", "bytes", 1, ",.0f"),
    "payload_bytes_webp_q75": Wording("bytes on the wire, WebP quality 75", "bytes", 1, ",.0f"),
    "payload_bytes_jpeg_q75": Wording("bytes on the wire, JPEG quality 75", "bytes", 1, ",.0f"),
    "payload_ssim": Wording("SSIM of payload and original"),
    "payload_ms_ssim": Wording("MS-SSIM of payload and original"),
    "payload_psnr": Wording("PSNR of payload and original", "dB", 1, ".1f"),
    "payload_l1": Wording("L1 of payload and original"),
    "client_bytes": Wording("size of the client part", "kB", 1e-3, ",.1f"),
    "multiply_adds": Wording("multiply-adds at 224 px", "million", 1e-6, ",.1f"),
    "latency_ms": Wording("latency at 224 px, one thread", "ms", 1, ",.1f"),
}


def wording(measure: str) -> Wording:
    """How to show that measure; one that is not known keeps its own name."""
    stem = measure.removesuffix(_ORIGINAL)
    for start, words in _RESTORED.items():
        if stem.startswith(start):
            return words._replace(label=f"{words.label}, {stem.removeprefix(start)}")
    found = _WORDS.get(stem, Wording(stem.replace("_", " "), form=",.4g"))
    return found if stem == measure else found._replace(label=f"{found.label}: original")


def number(measure: str, value: float | None) -> str:
    """The value without its unit, and without the sign of what is rounded to 0; nothing for none."""
    words = wording(measure)
    return "" if value is None else format(float(value * words.scale), f"z{words.form}")


def text(measure: str, value: float | None) -> str:
    """The value with its unit; nothing for none."""
    return f"{number(measure, value)} {wording(measure).unit}".strip() if value is not None else ""


def interval(entry: Measurement, join: str = " to ") -> str:
    """The 95 % interval without its unit; nothing for none."""
    if entry.low is None or entry.high is None:
        return ""
    return join.join(number(entry.measure, bound) for bound in (entry.low, entry.high))


def describe(entry: Measurement) -> str:
    """One figure in a line: its name, value, interval and number of images."""
    return f"{wording(entry.measure).label}: {text(entry.measure, entry.value)} ({interval(entry)}, n = {entry.n:,})"
