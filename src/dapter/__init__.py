"""Use a cloud image-recognition service without handing over an image that can be abused."""
