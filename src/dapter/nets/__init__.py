"""Networks, written here so that torchvision is not needed: converters, classifiers, decoders."""
