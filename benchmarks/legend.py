"""How the tables of results are read, said once at the head of their pages."""

LEAK = "0: nothing beyond the answer; 1: as much as from the original"
BRACKETS = (
    "95 % intervals, of a leak that of the attack's score alone, floor and ceiling as they were measured; "
    "in parentheses: mean and range over trainings"
)
RISING = "an attack's score on validation images was still rising when it was stopped, so the leak is a lower bound"
GUARANTEED = "the hard budget, the most bits that any payload carries"
ALONE = "what a classifier of the client part's size answers on the device, without any service"

TERMS = {
    "Leak": f"{LEAK}. The worst one is that of the strongest attack, chosen on validation images, on the secret that "
    "it learned most about, the image among them. Other attackers, or those trained longer, may find more.",
    "In brackets": f"{BRACKETS}.",
    "≥, or flagged `still improving`": f"{RISING}. After more than about six epochs the learning rate has fallen too "
    "far for that flag.",
    "Flagged `older attackers`": "not measured again since attackers became stronger: of features, of random payloads, "
    "and recognisers that learn in place, from payloads neither shifted nor mirrored. These also raise the ceiling. "
    "The leak may be too small ([log](../log.md#attacks)).",
    "Grade": f"measured, where nothing else is said. Guaranteed: {GUARANTEED}; epsilon; what a payload tells at most "
    "on average. Estimated: bits beyond the answer and in total.",
    "Bits in the name of a converter": "what its training was to keep to on average.",
    "Bits sent": "8 times the mean size of a payload, as PNG file, or as packed features in float16 with a header of "
    "about 80 bytes, not compressed: what is pruned is sent as zeros and counts.",
    "Epsilon": "that of the whole payload, for images that differ in `pixels` pixels; the setting is that of one of "
    "its three channels.",
    "Work": "multiply-adds of the client part at 224 px.",
    "Alone": f"{ALONE}.",
    "Trainings": "none of what learns nothing, which is measured once.",
    "Service changed": "a defence that changes the service does not work with one that is already there.",
}
"""The words of the tables, with what they mean."""

LEGEND = "\n".join(["## How to read the tables\n", *(f"- **{term}**: {said}" for term, said in TERMS.items()), ""])
